"""Uploads that are refused, broken off or have no room: each leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from core.blobs.settings import BlobSettings
from core.blobs.store import open_store
from tests.fixtures.answers import in_multipart
from tests.fixtures.servers import Reply
from tests.fixtures.volumes import to_nifti, to_zip
from tests.support.gateway import scripted_upstream
from tests.support.gateway_jobs import JOBS, LIMIT_S, Volumes, body, digest, unfinished, volume, volumes
from tests.support.watching import until

pytestmark = pytest.mark.timeout(600)

MIB = 2**20
PART_LIMIT = 9 * MIB
UPLOAD_TIMEOUT_S = 6.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    """A gateway with small limits and no worker."""
    limits = {
        "FALX_MAX_VOLUME_BYTES": str(PART_LIMIT),
        "FALX_MAX_JOB_BYTES": str(20 * MIB),
        "FALX_BLOBS_MAX_BYTES": str(40 * MIB),
        "FALX_UPLOAD_TIMEOUT_S": str(UPLOAD_TIMEOUT_S),
    }
    with scripted_upstream() as upstream, volumes(tmp_path_factory.mktemp("v"), upstream.url, **limits) as served:
        yield served


@pytest.fixture(autouse=True)
def _nothing_is_left(served: Volumes) -> Iterator[None]:
    """Whatever a test has done, no file stays once its jobs are deleted."""
    yield
    for job in served.ask("GET", f"{JOBS}?limit=200").json()["jobs"]:
        served.ask("DELETE", f"{JOBS}/{job['id']}")
    until(lambda: not served.files(), "an empty store", LIMIT_S)


def refused(served: Volumes, reply: Reply) -> tuple[int, str]:
    """Status and code of a refusal that has left nothing."""
    assert served.files() == []
    return reply.status, reply.json()["code"]


def send(served: Volumes, **parts: bytes) -> Reply:
    data, headers = in_multipart(parts)
    return served.ask("POST", JOBS, data, headers)


FLAT = np.zeros((16, 16, 16), np.int16)


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"not a volume at all, however long it may be", (400, "invalid-nifti")),
            (b"\x1f\x8b" + bytes(600), (400, "invalid-nifti")),
            (volume(compress=False)[:1000], (400, "invalid-nifti")),
            (volume()[:40], (400, "invalid-nifti")),
            (to_nifti(FLAT, fields={"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]}), (400, "invalid-nifti")),
            (to_nifti(FLAT, fields={"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}), (400, "invalid-nifti")),
            (to_nifti(FLAT, fields={"dim": [3, 16, -16, 16, 1, 1, 1, 1]}), (400, "invalid-nifti")),
            (to_nifti(FLAT, fields={"dim": [4, 16, 16, 8, 2, 1, 1, 1]}, compress=True), (422, "invalid-nifti")),
            (to_nifti(FLAT, fields={"dim": [2, 16, 256, 1, 1, 1, 1, 1]}), (422, "too-few-slices")),
            (to_nifti(FLAT, fields={"dim": [3, 9999, 9999, 9999, 1, 1, 1, 1]}), (413, "input-too-large")),
        ],
        ids=range(10),
    )
    def test_a_file_that_is_no_volume(self, served: Volumes, data: bytes, expected: tuple[int, str]) -> None:
        reply = send(served, t1=volume(), flair=data)
        assert refused(served, reply) == expected
        assert reply.json()["errors"][0]["pointer"] == "part/flair"

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
            (gzip.compress(volume()), "compressed twice"),
            (b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page"),
            (to_nifti(FLAT, fields={"xyzt_units": 1}), "The unit in xyzt_units is metres"),
        ],
        ids=["pointer", "gzip twice", "HTML", "metres"],
    )
    def test_a_file_that_is_something_else_is_named(self, served: Volumes, data: bytes, words: str) -> None:
        reply = send(served, flair=data)
        assert refused(served, reply) == (400, "invalid-nifti")
        assert words in reply.json()["detail"]
        assert words in reply.json()["errors"][0]["detail"]

    @pytest.mark.parametrize("data", [b"no zip", to_zip({}).getvalue(), b"PK"])
    def test_a_study_that_is_no_zip(self, served: Volumes, data: bytes) -> None:
        assert refused(served, send(served, dicom=data)) == (400, "invalid-dicom")

    def test_parts_that_do_not_belong_together(self, served: Volumes) -> None:
        study = to_zip({"a": b"b"}).getvalue()
        assert refused(served, send(served, t1=volume(), dicom=study)) == (400, "invalid-request")
        assert refused(served, send(served, dicom=study, t1=volume())) == (400, "invalid-request")
        assert refused(served, send(served, t3=volume())) == (400, "invalid-request")

    def test_no_volume(self, served: Volumes) -> None:
        assert refused(served, send(served, job=b"{}")) == (422, "missing-sequence")

    @pytest.mark.parametrize(
        ("job", "pointer"),
        [
            (b"{", "part/job#"),
            (b'{"priority": "now"}', "part/job#/priority"),
            (b'{"type": "cure"}', "part/job#/type"),
            (b'{"Doe^Jane": 1}', "part/job#"),
            (b'{"series": {"1.2": "flair"}}', "part/job#/series"),
            (b" " * 20_000, "part/job"),
        ],
    )
    def test_a_wrong_description(self, served: Volumes, job: bytes, pointer: str) -> None:
        reply = send(served, flair=volume(), job=job)
        assert refused(served, reply) in {(400, "invalid-request"), (413, "input-too-large")}
        assert reply.json()["errors"][0]["pointer"] == pointer
        assert b"Doe" not in reply.body

    @pytest.mark.parametrize(
        "series",
        [
            None,
            ["flair"],
            {"1.2": "pet"},
            {"1.2": "FLAIR"},
            {"1.2": 1},
            {"Doe^Jane": "flair"},
            {"": None},
            {"1.2\n": "t1"},
            {"1" * 65: "t1"},
            {"1.2": "t1", "1.3": "t1"},
            {f"1.{index}": None for index in range(33)},
        ],
        ids=range(11),
    )
    def test_wrong_words_on_series(self, served: Volumes, series: object) -> None:
        study = to_zip({"a": b"b"}).getvalue()
        reply = send(served, job=json.dumps({"series": series}).encode(), dicom=study)
        assert refused(served, reply) == (400, "invalid-request")
        assert {fault["pointer"] for fault in reply.json()["errors"]} == {"part/job#/series"}
        assert b"Doe" not in reply.body

    @pytest.mark.parametrize("query", ["experimental=perhaps", "experimental=", "experimental=true&experimental=true"])
    def test_a_wrong_wish_for_experimental_regions(self, served: Volumes, query: str) -> None:
        data, headers = body(None, flair=volume())
        reply = served.ask("POST", f"{JOBS}?{query}", data, headers)
        assert refused(served, reply) == (400, "invalid-request")
        assert [fault["pointer"] for fault in reply.json()["errors"]] == ["query/experimental"]

    def test_another_media_type(self, served: Volumes) -> None:
        reply = served.ask("POST", JOBS, volume(), {"Content-Type": "application/gzip"})
        assert refused(served, reply) == (415, "unsupported-media-type")
        assert reply.headers["accept-post"] == "multipart/form-data"

    def test_a_body_that_ends_too_soon(self, served: Volumes) -> None:
        data, headers = body(None, t1=volume(), flair=volume())
        assert refused(served, served.ask("POST", JOBS, data[:-40], headers)) == (400, "invalid-request")

    def test_a_part_above_the_limit(self, served: Volumes) -> None:
        reply = send(served, t1=volume(), flair=volume(compress=False) + bytes(PART_LIMIT))
        assert refused(served, reply) == (413, "input-too-large")
        assert str(PART_LIMIT) in reply.json()["detail"]

    def test_a_job_above_the_limit(self, served: Volumes) -> None:
        part = volume(compress=False) + bytes(7 * MIB)
        assert refused(served, send(served, t1=part, t2=part, flair=part)) == (413, "input-too-large")

    def test_no_room(self, served: Volumes) -> None:
        part = volume(compress=False) + bytes(8 * MIB)
        jobs = [send(served, t1=part, flair=part) for _ in range(2)]
        assert [reply.status for reply in jobs] == [202, 202]
        before = sorted(served.files())
        reply = send(served, t1=part, flair=part)
        assert (reply.status, reply.json()["code"], reply.json()["retryable"]) == (507, "storage-full", True)
        assert sorted(served.files()) == before
        for job in jobs:
            assert served.ask("DELETE", job.headers["location"]).status == 204
        assert send(served, t1=part).status == 202


def test_large_parts_are_stored_as_they_came(served: Volumes) -> None:
    part = volume(compress=False) + os.urandom(8 * MIB)
    reply = send(served, flair=part, t2=volume(seed=3))
    assert reply.status == 202
    assert [file["sha256"] for file in reply.json()["inputs"]] == [digest(part), digest(volume(seed=3))]
    stored = served.blobs / "jobs" / reply.json()["id"] / "inputs"
    assert (stored / "flair").read_bytes() == part


def test_experimental_regions_are_one_wish_in_the_query_and_in_the_part(served: Volumes) -> None:
    headers = {"Idempotency-Key": "experimental"}
    plain, described = body(None, flair=volume()), body({"experimental": True}, flair=volume())
    first = served.ask("POST", f"{JOBS}?experimental=true", plain[0], plain[1] | headers)
    same = served.ask("POST", JOBS, described[0], described[1] | headers)
    assert (first.status, same.status) == (202, 202)
    assert first.json()["id"] == same.json()["id"]
    other = served.ask("POST", f"{JOBS}?experimental=false", plain[0], plain[1] | headers)
    assert (other.status, other.json()["code"]) == (422, "idempotency-key-reuse")


def test_a_study_is_taken_in(served: Volumes) -> None:
    study: io.BytesIO = to_zip({"a": b"b"})
    reply = send(served, dicom=study.getvalue())
    assert (reply.status, reply.json()["inputs"][0]["media_type"]) == (202, "application/zip")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Settings of a store on an S3 server with an empty bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/falx", method="PUT")):
        pass
    yield {"FALX_BLOBS_URL": "s3://falx/volumes", "FALX_BLOBS_ENDPOINT": f"http://{host}:{port}"}
    server.stop()


async def test_a_job_lies_in_a_bucket_whole_or_not_at_all(served: Volumes, bucket: dict[str, str]) -> None:
    store = open_store(BlobSettings(blobs_url=bucket["FALX_BLOBS_URL"], blobs_endpoint=bucket["FALX_BLOBS_ENDPOINT"]))
    part = volume(compress=False) + os.urandom(8 * MIB)
    with scripted_upstream() as upstream, served.another_gateway(upstream.url, **bucket) as gateway:
        data, headers = in_multipart({"t1": part, "flair": b"none of it is a volume"})
        assert gateway.request("POST", JOBS, data, headers).status == 400
        assert [info async for info in store.listing("jobs")] == []
        data, headers = in_multipart({"t1": part})
        job = gateway.request("POST", JOBS, data, headers).json()
        (info,) = [info async for info in store.listing("jobs")]
        stored = b"".join([chunk async for chunk in store.read(info.name, job["inputs"][0]["sha256"])])
        assert stored == part
        assert gateway.request("DELETE", f"{JOBS}/{job['id']}").status == 204
        assert [info async for info in store.listing("jobs")] == []


def begun(served: Volumes, headers: str = "") -> socket.socket:
    """A connection on which half an upload has been sent: one whole part, and the beginning of another."""
    data, _ = body(None, t1=volume(), flair=volume(compress=False) + bytes(MIB))
    half = unfinished(data[: -MIB // 2], MIB // 2)
    connection = served.gateway.connect(LIMIT_S)
    connection.sendall(half.replace(b"Host: localhost\r\n", b"Host: localhost\r\n" + headers.encode()))
    until(lambda: any(path.name == "t1" for path in served.files()), "the first part in the store", LIMIT_S)
    return connection


class TestBrokenOff:
    def test_a_client_that_hangs_up(self, served: Volumes) -> None:
        begun(served).close()
        until(lambda: not served.files(), "the parts erased", LIMIT_S)
        assert served.ask("GET", JOBS).json()["total"] == 0

    def test_a_key_is_held_while_its_body_comes_in(self, served: Volumes) -> None:
        with begun(served, "Idempotency-Key: mine\r\n"):
            reply = served.submit(headers={"Idempotency-Key": "mine"})
            assert (reply.status, reply.json()["code"]) == (409, "idempotency-conflict")
        until(lambda: not served.files(), "the parts erased", LIMIT_S)
        until(lambda: served.submit(headers={"Idempotency-Key": "mine"}).status == 202, "the key let go", LIMIT_S)

    def test_a_client_that_stops_sending(self, served: Volumes) -> None:
        with begun(served) as connection:
            answer = b""
            # Head and body may come apart; the connection ends after them, or the socket's own time limit does.
            while b"deadline-exceeded" not in answer and (more := connection.recv(65536)):
                answer += more
        assert b" 504 " in answer.partition(b"\r\n")[0]
        assert b"deadline-exceeded" in answer

    def test_what_a_killed_gateway_left_is_swept(self, served: Volumes) -> None:
        with (
            scripted_upstream() as upstream,
            served.another_gateway(upstream.url) as doomed,
        ):
            data, _ = body(None, t1=volume(), flair=volume(compress=False) + bytes(9 * MIB))
            with doomed.connect() as connection:
                connection.sendall(unfinished(data[: -MIB // 2], MIB // 2))
                until(lambda: any(path.name == "t1" for path in served.files()), "the first part in the store", LIMIT_S)
                doomed.kill()
        kept = send(served, flair=volume()).json()["id"]
        assert len(served.files()) >= 2
        own = served.blobs / "jobs" / kept / "inputs" / "flair"
        until(lambda: served.files() == [own], "all but the job's own file swept", 3 * UPLOAD_TIMEOUT_S + LIMIT_S)
