"""What a job asks for and cannot get is refused while it is sent, by a real gateway that knows real workers."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.fixtures.answers import in_multipart
from tests.fixtures.servers import Reply
from tests.fixtures.volume_models import make_phantom
from tests.fixtures.volumes import make_series, to_zip
from tests.support.gateway import scripted_upstream
from tests.support.gateway_jobs import JOBS, LIMIT_S, Volumes, body, unfinished, volume, volumes

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    """A worker whose model is ``tumor-volume@1`` and takes t1, t1ce and flair."""
    with scripted_upstream() as upstream, volumes(tmp_path_factory.mktemp("v"), upstream.url) as served:
        served.start_worker()
        end_s = time.monotonic() + LIMIT_S
        while not served.ask("GET", "/v1/models").json()["models"]:
            assert time.monotonic() < end_s
            time.sleep(0.1)
        yield served


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volumes]:
    """No worker."""
    with scripted_upstream() as upstream, volumes(tmp_path_factory.mktemp("v"), upstream.url) as served:
        yield served


def send(served: Volumes, job: Mapping[str, Any], query: str = "", **parts: bytes) -> Reply:
    data, headers = body(job, **parts)
    return served.ask("POST", JOBS + query, data, headers)


def jobs(served: Volumes) -> int:
    total: int = served.ask("GET", JOBS).json()["total"]
    return total


@pytest.mark.parametrize(
    ("job", "part", "status", "code", "pointer", "words"),
    [
        ({"model": "none"}, "flair", 404, "unknown-model", "part/job#/model", "Known: tumor-volume@1."),
        ({"model": "tumor-volume@2"}, "flair", 404, "unknown-model", "part/job#/model", "Known: tumor-volume@1."),
        ({"model": "tumor volume"}, "flair", 400, "invalid-request", "part/job#/model", "part/job#/model"),
        ({"outputs": ["meshes"]}, "flair", 400, "invalid-request", "part/job#/outputs/0", "part/job#/outputs"),
        ({"outputs": ["backdrop", "x"]}, "t1", 400, "invalid-request", "part/job#/outputs/1", "part/job#/outputs"),
        ({"type": "meshing"}, "flair", 400, "invalid-request", "part/job#/type", "known: segmentation"),
        ({"series": {"1.2": "flair"}}, "flair", 400, "invalid-request", "part/job#/series", "dicom only"),
        ({}, "t2", 400, "invalid-request", "part/t2", "it takes: flair, t1, t1ce"),
        ({"model": "tumor-volume"}, "t2", 400, "invalid-request", "part/t2", "it takes: flair, t1, t1ce"),
        ({}, "mask", 400, "invalid-request", "part", "known parts: t1, t1ce, t2, flair, dicom, job"),
    ],
)
def test_what_cannot_be_had_is_refused_before_volumes_are_uploaded(
    served: Volumes, job: Mapping[str, Any], part: str, status: int, code: str, pointer: str, words: str
) -> None:
    """Most of the body never comes: the answer does not wait for it."""
    before = jobs(served)
    data, _ = body(job, **{part: volume()})
    closing = data.rindex(b"\r\n--")
    with served.gateway.connect(timeout_s=60.0) as connection:
        connection.sendall(unfinished(data[:closing], 5_000_000))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, problem["code"]) == (status, code)
    assert pointer in [fault["pointer"] for fault in problem["errors"]]
    assert words in problem["detail"]
    assert (served.files(), jobs(served)) == ([], before)


def test_the_order_of_the_parts_does_not_matter(served: Volumes) -> None:
    for job in ({"model": "none"}, {"series": {"1.2": "flair"}}, {"outputs": ["meshes"]}):
        data, headers = in_multipart({"flair": volume(), "job": json.dumps(job).encode()})
        assert served.ask("POST", JOBS, data, headers).status in (400, 404)
        assert served.files() == []


def test_a_model_in_the_query_is_named_as_unknown(served: Volumes) -> None:
    reply = send(served, {}, "?model=tumor-volume", flair=volume())
    assert (reply.status, reply.json()["code"]) == (400, "invalid-request")


@pytest.mark.parametrize("model", ["tumor-volume", "tumor-volume@1"])
def test_what_can_be_had_is_taken_in(served: Volumes, model: str) -> None:
    reply = send(served, {"type": "echo", "model": model, "outputs": ["backdrop"]}, flair=volume())
    assert reply.status == 202
    assert served.reached(reply.json()["id"], "succeeded")["id"] == reply.json()["id"]
    served.ask("DELETE", f"{JOBS}/{reply.json()['id']}")


def test_a_study_is_not_judged_by_what_a_model_takes(served: Volumes) -> None:
    zipped = to_zip(make_series(make_phantom()[0])).getvalue()
    reply = send(served, {"type": "echo", "series": {"1.2": "t2"}}, dicom=zipped)
    assert reply.status == 202
    served.ask("DELETE", f"{JOBS}/{reply.json()['id']}")


def test_a_repeat_is_answered_with_the_first_job_whatever_the_workers_have_by_then(served: Volumes) -> None:
    key = {"Idempotency-Key": "of-a-model"}
    data, headers = body({"type": "echo", "model": "tumor-volume@1"}, flair=volume())
    first = served.ask("POST", JOBS, data, {**headers, **key}).json()["id"]
    served.reached(first, "succeeded")
    served.stop_workers()
    try:
        assert served.ask("POST", JOBS, data, {**headers, **key}).json()["id"] == first
    finally:
        served.start_worker()
        served.ask("DELETE", f"{JOBS}/{first}")


def test_without_a_worker_nobody_knows_its_model_and_the_job_waits(lonely: Volumes) -> None:
    reply = send(lonely, {"model": "any-model@7"}, flair=volume())
    assert reply.status == 202
    assert reply.json()["status"] == "queued"
    # What no worker ever makes is refused all the same.
    assert send(lonely, {"outputs": ["meshes"]}, flair=volume()).status == 400
