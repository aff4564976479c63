"""The volumes routes over a real queue, store and worker: the whole life of a job."""

from __future__ import annotations

import base64
import http.client
import json
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.servers import Reply
from tests.support.gateway import Exchange, scripted_upstream
from tests.support.gateway_jobs import JOBS, LIMIT_S, Volumes, body, digest, volume, volumes

pytestmark = pytest.mark.timeout(600)

UNKNOWN = "0" * 32


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    """A gateway and one worker."""
    with scripted_upstream() as upstream, volumes(tmp_path_factory.mktemp("volumes"), upstream.url) as served:
        served.start_worker()
        yield served


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    """A gateway whose jobs nobody does; three may wait."""
    with (
        scripted_upstream() as upstream,
        volumes(tmp_path_factory.mktemp("idle"), upstream.url, FALX_MAX_QUEUED_JOBS="3") as served,
    ):
        yield served


@pytest.fixture(autouse=True)
def _nothing_waits(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "idle" in request.fixturenames:
        idle: Volumes = request.getfixturevalue("idle")
        for job in idle.ask("GET", f"{JOBS}?limit=200").json()["jobs"]:
            assert idle.ask("DELETE", f"{JOBS}/{job['id']}").status == 204


def code(reply: Reply) -> tuple[int, str]:
    """Status and problem code of a refusal."""
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.status, reply.json()["code"]


@pytest.fixture(scope="module")
def done(served: Volumes) -> dict[str, Any]:
    """A job that has succeeded, of two sequences."""
    reply = served.submit(flair=volume(seed=1), t1=volume(48, compress=False, seed=2))
    assert reply.status == 202
    return served.reached(reply.json()["id"], "succeeded", "failed")


class TestLife:
    def test_an_accepted_job_says_where_and_when(self, served: Volumes, idle: Volumes) -> None:
        reply = idle.submit(flair=(flair := volume()))
        job = reply.json()
        assert reply.status == 202
        assert reply.headers["location"] == f"{JOBS}/{job['id']}"
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.headers["cache-control"] == "no-store"
        assert (job["status"], job["queue_position"], job["type"]) == ("queued", 1, "segmentation")
        assert job["inputs"] == [
            {"name": "flair", "media_type": "application/gzip", "size": len(flair), "sha256": digest(flair)}
        ]

    def test_the_worker_and_its_model_are_listed(self, served: Volumes, done: dict[str, Any]) -> None:
        models = served.ask("GET", "/v1/models").json()["models"]
        assert [(model["name"], model["task"], model["ready"]) for model in models] == [
            ("tumor-volume", "volume-segmentation", True)
        ]
        assert served.ask("GET", "/v1/models/tumor-volume@1").json() == models[0]
        states = {state["name"]: state for state in served.ask("GET", "/readyz").json()["dependencies"]}
        assert (states["queue"]["detail"], states["blobs"]["ready"]) == ("workers: 1", True)

    def test_the_card_of_its_model_comes_from_a_model_server(self, served: Volumes, done: dict[str, Any]) -> None:
        asked = []

        def script(exchange: Exchange) -> None:
            asked.append(exchange.target)
            if len(asked) == 1:
                exchange.problem(404, "unknown-model")
            else:
                exchange.answer(body=b"# Volumes", media_type="text/markdown")

        with scripted_upstream() as upstream, served.another_gateway(upstream.url) as gateway:
            upstream.script = script
            assert gateway.request("GET", "/v1/models/tumor-volume/card").body == b"# Volumes"
            assert asked == ["/v1/models/tumor-volume@1/card"] * 2
            upstream.script = lambda exchange: exchange.problem(404, "unknown-model")
            assert code(gateway.request("GET", "/v1/models/tumor-volume/card")) == (404, "not-found")

    def test_it_succeeds_with_what_the_worker_found(self, done: dict[str, Any]) -> None:
        assert done["status"] == "succeeded"
        assert done["progress"] == {"fraction": 1.0, "stage": "done"}
        assert (done["measurements"]["volume_ml"], done["warnings"]) == (1.5, ["a warning"])
        assert [result["name"] for result in done["results"]] == ["report.json", "copy-flair", "copy-t1"]
        assert done["created_at"] < done["started_at"] < done["finished_at"] < done["expires_at"]

    def test_results_are_the_bytes_that_were_written(self, served: Volumes, done: dict[str, Any]) -> None:
        listed = served.ask("GET", f"{JOBS}/{done['id']}/results").json()
        assert (listed["job"], listed["status"], listed["results"]) == (done["id"], "succeeded", done["results"])
        for result in listed["results"]:
            reply = served.ask("GET", result["href"])
            assert reply.status == 200
            assert reply.headers["content-type"] == result["media_type"]
            assert int(reply.headers["content-length"]) == len(reply.body) == result["size"]
            assert digest(reply.body) == result["sha256"]
            sent = base64.b64encode(bytes.fromhex(result["sha256"])).decode()
            assert reply.headers["repr-digest"] == f"sha-256=:{sent}:"
        assert reply.body == volume(48, compress=False, seed=2)

    def test_a_failed_job_has_a_problem(self, served: Volumes) -> None:
        job = served.reached(served.submit("refuse").json()["id"], "failed")
        assert (job["problem"]["code"], job["problem"]["status"]) == ("inconsistent-geometry", 422)
        assert served.ask("GET", f"{JOBS}/{job['id']}/results").json()["results"] == []

    def test_prefer_wait_answers_when_it_has_ended(self, served: Volumes) -> None:
        reply = served.submit(headers={"Prefer": "respond-async, wait=250"})
        assert (reply.status, reply.json()["status"]) == (200, "succeeded")
        assert reply.headers["preference-applied"] == "wait=250"

    def test_prefer_wait_gives_up_in_time(self, idle: Volumes) -> None:
        started = time.monotonic()
        reply = idle.submit(headers={"Prefer": "wait=1"})
        assert (reply.status, reply.json()["status"]) == (202, "queued")
        assert 1.0 <= time.monotonic() - started < 30

    def test_a_running_job_is_cancelled(self, served: Volumes) -> None:
        job_id = served.submit("slow").json()["id"]
        served.reached(job_id, "running")
        reply = served.ask("POST", f"{JOBS}/{job_id}/cancel")
        assert (reply.status, reply.json()["status"]) == (202, "cancelled")
        assert code(served.ask("POST", f"{JOBS}/{job_id}/cancel")) == (409, "job-not-cancellable")

    def test_deleting_erases_inputs_and_results(self, served: Volumes) -> None:
        job = served.submit(headers={"Prefer": "wait=250"}).json()
        folder = served.blobs / "jobs" / job["id"]
        assert len([path for path in folder.rglob("*") if path.is_file()]) == 3
        reply = served.ask("DELETE", f"{JOBS}/{job['id']}")
        assert (reply.status, reply.body) == (204, b"")
        assert not folder.exists()
        for path in ("", "/results", "/results/report.json", "/events"):
            assert code(served.ask("GET", f"{JOBS}/{job['id']}{path}")) == (410, "result-expired")
        assert code(served.ask("DELETE", f"{JOBS}/{job['id']}")) == (410, "result-expired")

    def test_twenty_at_once_are_twenty_jobs(self, served: Volumes) -> None:
        files = [volume(seed=seed) for seed in range(20)]
        with ThreadPoolExecutor(20) as pool:
            replies = list(pool.map(lambda data: served.submit("echo", flair=data), files))
        assert {reply.status for reply in replies} == {202}
        assert [reply.json()["inputs"][0]["sha256"] for reply in replies] == [digest(data) for data in files]
        assert len({reply.json()["id"] for reply in replies}) == 20
        for reply in replies:
            assert served.ask("DELETE", f"{JOBS}/{reply.json()['id']}").status == 204


class TestDownload:
    @pytest.mark.parametrize(
        ("header", "part"),
        [("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)), ("bytes=-7", slice(-7, None))],
    )
    def test_a_range(self, served: Volumes, done: dict[str, Any], header: str, part: slice) -> None:
        href, whole = f"{JOBS}/{done['id']}/results/copy-t1", volume(48, compress=False, seed=2)
        reply = served.ask("GET", href, headers={"Range": header})
        assert (reply.status, reply.body) == (206, whole[part])
        start, stop, _ = part.indices(len(whole))
        assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"

    def test_a_range_beyond_the_end(self, served: Volumes, done: dict[str, Any]) -> None:
        size = done["results"][0]["size"]
        reply = served.ask("GET", done["results"][0]["href"], headers={"Range": f"bytes={size}-"})
        assert code(reply) == (416, "range-not-satisfiable")
        assert reply.headers["content-range"] == f"bytes */{size}"

    def test_what_the_caller_has_is_not_sent_again(self, served: Volumes, done: dict[str, Any]) -> None:
        href = done["results"][0]["href"]
        etag = served.ask("GET", href).headers["etag"]
        for tags in (etag, f'"x", W/{etag}', "*"):
            reply = served.ask("GET", href, headers={"If-None-Match": tags})
            assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", etag)
        assert served.ask("GET", href, headers={"If-None-Match": '"x"'}).status == 200

    def test_a_range_of_an_older_file_is_the_whole_of_the_new_one(self, served: Volumes, done: dict[str, Any]) -> None:
        href = done["results"][0]["href"]
        assert served.ask("GET", href, headers={"Range": "bytes=0-1", "If-Range": '"older"'}).status == 200
        etag = served.ask("GET", href).headers["etag"]
        assert served.ask("GET", href, headers={"Range": "bytes=0-1", "If-Range": etag}).status == 206

    def test_head(self, served: Volumes, done: dict[str, Any]) -> None:
        reply = served.ask("HEAD", done["results"][0]["href"])
        assert (reply.status, reply.body) == (200, b"")
        assert int(reply.headers["content-length"]) == done["results"][0]["size"]

    def test_no_such_result(self, served: Volumes, done: dict[str, Any]) -> None:
        assert code(served.ask("GET", f"{JOBS}/{done['id']}/results/other.png")) == (404, "not-found")

    def test_bytes_that_have_changed_never_arrive_whole(self, served: Volumes) -> None:
        large = volume(compress=False) + bytes(3 * 2**20)
        job = served.submit(flair=large, headers={"Prefer": "wait=250"}).json()
        results = served.blobs / "jobs" / job["id"] / "results" / "1"
        for name in ("report.json", "copy-flair"):
            data = bytearray((results / name).read_bytes())
            data[-1] ^= 1
            (results / name).write_bytes(data)
        small, big = (result["href"] for result in job["results"])
        assert code(served.ask("GET", small)) == (500, "internal-error")
        with pytest.raises(http.client.IncompleteRead) as caught:
            served.ask("GET", big)
        assert len(caught.value.partial) < len(large)
        (results / "report.json").unlink()
        assert code(served.ask("GET", small)) == (404, "not-found")


class TestList:
    def test_pages_lead_to_each_other(self, idle: Volumes) -> None:
        ids = [idle.submit().json()["id"] for _ in range(3)]
        seen, path = [], f"{JOBS}?limit=2&status=queued"
        while path:
            reply = idle.ask("GET", path)
            page = reply.json()
            assert page["total"] == 3
            seen += [(job["id"], job["queue_position"]) for job in page["jobs"]]
            link = re.fullmatch(r'<([^>]+)>; rel="next"', reply.headers.get("link", ""))
            path = link[1] if link else ""
        assert seen == [(ids[2], 3), (ids[1], 2), (ids[0], 1)]
        assert idle.ask("GET", f"{JOBS}?status=failed").json()["jobs"] == []

    @pytest.mark.parametrize("query", ["limit=0", "limit=many", "status=lost", "offset=-1", "colour=red"])
    def test_a_wrong_query(self, idle: Volumes, query: str) -> None:
        assert code(idle.ask("GET", f"{JOBS}?{query}")) == (400, "invalid-request")


class TestRefusals:
    @pytest.mark.parametrize("job_id", [UNKNOWN, "x", "..%2F..%2Fetc", UNKNOWN.replace("0", "G")])
    def test_an_unknown_job(self, idle: Volumes, job_id: str) -> None:
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/results")):
            assert idle.ask(method, f"{JOBS}/{job_id}{path}").status == 404

    def test_a_full_queue_says_when_to_come_back(self, idle: Volumes) -> None:
        for _ in range(3):
            assert idle.submit().status == 202
        reply = idle.submit()
        assert code(reply) == (429, "queue-full")
        assert int(reply.headers["retry-after"]) >= 1
        assert len(idle.files()) == 3

    def test_a_key_belongs_to_one_job(self, idle: Volumes) -> None:
        key = {"Idempotency-Key": "first"}
        first = idle.submit(headers=key, flair=volume(seed=1))
        again = idle.submit(headers=key, flair=volume(seed=1))
        assert (first.status, again.status) == (202, 202)
        assert again.headers["location"] == first.headers["location"]
        assert code(idle.submit(headers=key, flair=volume(seed=2))) == (422, "idempotency-key-reuse")
        assert code(idle.submit("echo", headers=key, flair=volume(seed=1))) == (422, "idempotency-key-reuse")
        assert idle.ask("GET", JOBS).json()["total"] == 1
        assert len(idle.files()) == 1

    def test_repeats_are_answered_while_the_queue_is_full(self, idle: Volumes) -> None:
        key = {"Idempotency-Key": "full"}
        first = idle.submit(headers=key)
        for _ in range(2):
            idle.submit()
        again = idle.submit(headers=key)
        assert (again.status, again.json()["id"]) == (202, first.json()["id"])

    def test_a_key_of_nonsense(self, idle: Volumes) -> None:
        assert code(idle.submit(headers={"Idempotency-Key": "k" * 256})) == (400, "invalid-request")


@contextmanager
def stream(served: Volumes, job_id: str, last: str | None = None) -> Iterator[http.client.HTTPResponse]:
    """The open stream of a job's events."""
    connection = http.client.HTTPConnection("127.0.0.1", served.gateway.port, timeout=LIMIT_S)
    try:
        connection.request("GET", f"{JOBS}/{job_id}/events", headers={} if last is None else {"Last-Event-ID": last})
        yield connection.getresponse()
    finally:
        connection.close()


def events(text: str) -> list[tuple[str, str, Any]]:
    """Id, name and data of each event of a stream."""
    found = re.findall(r"id: (\S+)\nevent: (\w+)\ndata: (.*)\n\n", text)
    return [(identifier, name, json.loads(data)) for identifier, name, data in found]


class TestEvents:
    def test_a_job_is_followed_to_its_end(self, served: Volumes) -> None:
        job_id = served.submit("slow").json()["id"]
        with stream(served, job_id) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            seen = events(answer.read().decode())
        states = [data["status"] for _, name, data in seen if name == "state"]
        assert (states[0], states[1], states[-1]) == ("queued", "running", "succeeded")
        assert "segment" in [data["stage"] for _, name, data in seen if name == "progress"]

    def test_it_resumes_after_the_last_event_that_was_seen(self, served: Volumes, done: dict[str, Any]) -> None:
        with stream(served, done["id"]) as answer:
            whole = events(answer.read().decode())
        with stream(served, done["id"], whole[1][0]) as answer:
            assert events(answer.read().decode()) == whole[2:]
        with stream(served, done["id"], whole[-1][0]) as answer:
            assert (answer.status, answer.read()) == (204, b"")

    def test_an_id_of_nonsense(self, served: Volumes, done: dict[str, Any]) -> None:
        reply = served.ask("GET", f"{JOBS}/{done['id']}/events", headers={"Last-Event-ID": "yesterday"})
        assert code(reply) == (400, "invalid-request")

    def test_a_stream_that_is_left_ends(self, idle: Volumes) -> None:
        job_id = idle.submit().json()["id"]
        ended = idle.gateway.log.count("/v1/jobs/{job_id}/events")
        for _ in range(5):
            with stream(idle, job_id) as answer:
                assert answer.readline() == b"retry: 2000\n"
        end_s = time.monotonic() + 10
        while idle.gateway.log.count("/v1/jobs/{job_id}/events") < ended + 5:
            assert time.monotonic() < end_s
            time.sleep(0.05)

    def test_a_quiet_stream_beats_and_ends_with_the_process(self, idle: Volumes) -> None:
        job_id = idle.submit().json()["id"]
        with scripted_upstream() as upstream, idle.another_gateway(upstream.url) as gateway:
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=LIMIT_S)
            connection.request("GET", f"{JOBS}/{job_id}/events")
            answer = connection.getresponse()
            lines: list[bytes] = []
            started = time.monotonic()
            while not lines or not lines[-1].startswith(b":"):
                lines.append(answer.readline())
            assert 10 < time.monotonic() - started < 60
            gateway.sigterm()
            answer.read()
            connection.close()
            assert gateway.wait() == 0


def test_a_body_needs_no_part_named_job(idle: Volumes) -> None:
    data, headers = body(t1ce=volume())
    reply = idle.ask("POST", JOBS, data, headers)
    assert (reply.status, reply.json()["type"], reply.json()["priority"]) == (202, "segmentation", "routine")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the memory from /proc")
def test_no_volume_is_held_in_memory(idle: Volumes) -> None:
    def peak_mib() -> int:
        status = Path(f"/proc/{idle.gateway.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) // 1024

    idle.submit()
    before = peak_mib()
    reply = idle.submit(flair=volume(compress=False) + bytes(160 * 2**20))
    assert reply.status == 202
    assert peak_mib() - before < 80


def test_urgent_jobs_come_first(idle: Volumes) -> None:
    routine = idle.submit().json()["id"]
    data, headers = body({"priority": "urgent"}, flair=volume())
    assert idle.ask("POST", JOBS, data, headers).json()["queue_position"] == 1
    assert idle.ask("GET", f"{JOBS}/{routine}").json()["queue_position"] == 2
