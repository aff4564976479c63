"""Several slices in one call: real model servers behind a real gateway, every file with its own answer or problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from core.contracts.classification import ClassificationBatch
from core.contracts.operations.batches import CLASSIFY_BATCH, SEGMENT_BATCH
from core.contracts.operations.slices import CLASSIFY, SEGMENT
from core.contracts.segmentation import SegmentationBatch
from tests.fixtures.answers import BOUNDARY, without_timing
from tests.fixtures.images import make_dicom, make_jpeg, make_png
from tests.fixtures.servers import Reply, Server, running
from tests.support.gateway import gateway_before

MOST_FILES = 5
MOST_BYTES = 256 * 1024
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
# A name that a hospital might give a file, and that nothing may repeat.
NAME = "DOE_JANE_1961.png"
PNG, JPEG, DICOM = make_png(64, 64), make_jpeg(80, 60), make_dicom()
File = bytes | tuple[bytes, str]
BATCHES = {CLASSIFY.path: CLASSIFY_BATCH.path, SEGMENT.path: SEGMENT_BATCH.path}


@pytest.fixture(scope="module")
def urls(tiny_models: Path) -> Iterator[tuple[str, str]]:
    env = {
        "FALX_MODELS_DIR": str(tiny_models),
        "FALX_MAX_FILES_PER_REQUEST": str(MOST_FILES),
        "FALX_MAX_IMAGE_BYTES": str(MOST_BYTES),
        "FALX_LOG_LEVEL": "info",
    }
    with ExitStack() as servers:
        classifier = servers.enter_context(running("classifier_service", env))
        segmenter = servers.enter_context(running("segmenter_service", env))
        yield classifier.base_url, segmenter.base_url


@pytest.fixture(scope="module")
def gateway(urls: tuple[str, str]) -> Iterator[Server]:
    with gateway_before(*urls) as server:
        yield server


def part(file: File, name: str = "file") -> bytes:
    data, media_type = file if isinstance(file, tuple) else (file, "")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{NAME}"\r\n'
    head += f"Content-Type: {media_type}\r\n" if media_type else ""
    return head.encode() + b"\r\n" + data + b"\r\n"


def send(server: Server, path: str, files: Sequence[File], more: bytes = b"", **headers: str) -> Reply:
    body = b"".join(map(part, files)) + more + f"--{BOUNDARY}--\r\n".encode()
    return server.request("POST", path, body, {**MULTIPART, **headers})


def items(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json()["items"]
    assert [item["index"] for item in found] == list(range(len(found)))
    assert reply.headers["x-falx-files"] == str(len(found))
    assert reply.headers["cache-control"] == "no-store"
    return found


@pytest.mark.parametrize("path", BATCHES)
def test_every_file_is_answered_as_it_would_be_alone_and_in_order(gateway: Server, path: str) -> None:
    files = (JPEG, PNG, DICOM, PNG)
    alone = [send(gateway, path, [file]).json() for file in files]
    reply = send(gateway, BATCHES[path], files)
    found = items(reply)
    assert [item["status"] for item in found] == [200] * len(files)
    assert [without_timing(item["answer"]) for item in found] == [without_timing(answer) for answer in alone]
    assert all(item["answer"]["request_id"] == reply.headers["x-request-id"] for item in found)
    kind = ClassificationBatch if path == CLASSIFY.path else SegmentationBatch
    kind.model_validate_json(reply.body)


@pytest.mark.parametrize("path", BATCHES)
def test_several_files_on_the_plain_path_are_a_batch_and_one_file_is_none(gateway: Server, path: str) -> None:
    plain, batch = (send(gateway, where, [PNG, JPEG]) for where in (path, BATCHES[path]))
    assert [without_timing(item["answer"]) for item in items(plain)] == [
        without_timing(item["answer"]) for item in items(batch)
    ]
    assert "items" not in send(gateway, path, [PNG]).json()
    assert len(items(send(gateway, BATCHES[path], [PNG]))) == 1


@pytest.mark.parametrize("path", [*BATCHES.values(), *BATCHES])
def test_a_bad_file_harms_no_other(gateway: Server, path: str) -> None:
    bad: dict[str, File] = {
        "invalid-image": PNG[:60],
        "invalid-request": b"",
        "input-too-large": b"\x89PNG" + bytes(MOST_BYTES),
        "unsupported-media-type": (PNG, "text/plain"),
    }
    for code, file in bad.items():
        for files in ([PNG, file, JPEG], [file, PNG, JPEG]):
            reply = send(gateway, path, files)
            found = items(reply)
            at = files.index(file)
            problem = found[at].pop("problem")
            assert problem["code"] == code
            assert found[at] == {"index": at, "status": problem["status"]}
            assert problem["request_id"] == reply.headers["x-request-id"]
            assert sum(item["status"] == 200 for item in found) == 2
            assert NAME.encode() not in reply.body


def test_of_bad_files_alone_each_is_told_its_problem(gateway: Server) -> None:
    found = items(send(gateway, CLASSIFY_BATCH.path, [PNG[:60], b""]))
    assert [item["problem"]["code"] for item in found] == ["invalid-image", "invalid-request"]


def test_the_query_holds_for_every_file(gateway: Server) -> None:
    found = items(send(gateway, CLASSIFY_BATCH.path + "?explain=cam&model=tumor-classifier@1", [PNG, JPEG]))
    assert all(item["answer"]["explanation"]["kind"] == "cam" for item in found)
    found = items(send(gateway, SEGMENT_BATCH.path + "?threshold=0.25", [PNG, JPEG]))
    assert [item["answer"]["threshold"] for item in found] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("path", "files", "more", "headers", "status", "code"),
    [
        (CLASSIFY_BATCH.path, [PNG] * (MOST_FILES + 1), b"", {}, 413, "input-too-large"),
        (CLASSIFY.path, [PNG] * (MOST_FILES + 1), b"", {}, 413, "input-too-large"),
        (CLASSIFY_BATCH.path, [bytes(MOST_BYTES)] * MOST_FILES, b"", {}, 413, "input-too-large"),
        (CLASSIFY_BATCH.path, [], b"", {}, 400, "invalid-request"),
        (CLASSIFY_BATCH.path, [PNG], part(PNG, "flair"), {}, 400, "invalid-request"),
        (SEGMENT.path, [PNG, PNG], part(PNG, "flair"), {}, 400, "invalid-request"),
        (SEGMENT.path, [PNG, PNG], b"", {"Accept": "image/png"}, 406, "not-acceptable"),
        (SEGMENT.path + "?render=overlay", [PNG, PNG], b"", {}, 406, "not-acceptable"),
        (SEGMENT_BATCH.path, [PNG], b"", {"Accept": "image/png"}, 406, "not-acceptable"),
        (SEGMENT_BATCH.path + "?render=overlay", [PNG], b"", {}, 400, "invalid-request"),
        (CLASSIFY_BATCH.path + "?model=none", [PNG], b"", {}, 404, "unknown-model"),
        (CLASSIFY_BATCH.path, [PNG], b"", {"Content-Type": "image/png"}, 415, "unsupported-media-type"),
    ],
)
def test_what_is_wrong_with_the_call_refuses_all_of_it(
    gateway: Server, path: str, files: list[File], more: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = send(gateway, path, files, more, **headers)
    assert (reply.status, reply.json()["code"]) == (status, code)


def test_json_is_had_where_pictures_are_merely_preferred(gateway: Server) -> None:
    found = items(send(gateway, SEGMENT_BATCH.path, [PNG], Accept="image/png, application/json;q=0.5"))
    assert found[0]["status"] == 200


def test_each_file_counts_for_the_rate(urls: tuple[str, str]) -> None:
    with gateway_before(*urls, env={"FALX_RATE_LIMIT": "6/minute"}) as server:
        assert send(server, CLASSIFY_BATCH.path, [PNG] * 3).status == 200
        assert send(server, CLASSIFY.path, [PNG]).status == 200
        # Two are left: this one is let in, and takes them.
        assert send(server, CLASSIFY.path, [PNG] * 4).status == 200
        refused = send(server, CLASSIFY.path, [PNG])
        assert (refused.status, refused.json()["code"]) == (429, "rate-limited")
