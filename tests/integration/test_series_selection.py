"""``POST /v1/series-selection`` through a gateway: the same choice as a job's, and nothing kept or leaked."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from core.contracts.series import SeriesSelection
from core.imaging.dicom.study import read_study
from gateway.keys import KeyFile, Scope, create_key
from tests.fixtures.answers import in_multipart
from tests.fixtures.servers import Reply, Server, running
from tests.fixtures.volumes import to_zip
from tests.support.gateway import gateway_before
from tests.support.studies import study

PATH = "/v1/series-selection"
ZIP, METADATA = {"Content-Type": "application/zip"}, {"Content-Type": "application/dicom+json"}
FILES = study(
    (2, "t1_se_tra Doe^Jane", {"AcquisitionTime": "100200"}),
    (3, "t2_tse_tra", {"AcquisitionTime": "100400"}),
    (4, "t1_se_tra_KM", {"AcquisitionTime": "102000", "ContrastBolusAgent": "Gadovist"}),
    (5, "t1_se_cor_KM", {"AcquisitionTime": "102400", "ContrastBolusAgent": "Gadovist"}),
    (6, "t1_se_SUB", {"ImageType": ["DERIVED", "PRIMARY", "SUB"]}),
)
STUDY = to_zip(FILES).getvalue()
LIMIT = 2 * 1024 * 1024


@pytest.fixture(scope="module")
def stack(tiny_models: Path) -> Iterator[tuple[Server, Server]]:
    """The gateway, and the segmenter behind it."""
    limits = {"FALX_MAX_VOLUME_BYTES": str(LIMIT), "FALX_MAX_SELECTIONS": "1", "FALX_MAX_METADATA_BYTES": "100000"}
    with ExitStack() as servers:
        segmenter = servers.enter_context(running("segmenter_service", {"FALX_MODELS_DIR": str(tiny_models), **limits}))
        gateway = servers.enter_context(gateway_before(segmenter.base_url, segmenter.base_url, env=limits))
        yield gateway, segmenter


def ask(stack: tuple[Server, Server], data: bytes, headers: Mapping[str, str] = ZIP) -> Reply:
    return stack[0].request("POST", PATH, data, headers)


def chosen(reply: Reply) -> dict[str, Any]:
    """UIDs by sequence, of a sound answer."""
    assert reply.status == 200, reply.body
    answer = SeriesSelection.model_validate_json(reply.body)
    assert [one.sequence for one in answer.sequences] == ["t1", "t1ce", "t2", "flair"]
    return {one.sequence: one.uid for one in answer.sequences}


def test_it_answers_what_a_job_takes(stack: tuple[Server, Server]) -> None:
    reply = ask(stack, STUDY)
    assert chosen(reply) == {"t1": "1.2.3.2", "t1ce": "1.2.3.5", "t2": "1.2.3.3", "flair": None}
    found = read_study(to_zip(FILES))
    answer = reply.json()
    assert answer["warnings"] == list(found.warnings)
    assert answer["refusal"] is None
    for told, source in zip((one for one in answer["sequences"] if one["uid"]), found.sources, strict=True):
        assert (told["uid"], told["score"], told["reasons"]) == (source.uid, source.score, list(source.reasons))
        assert [other["uid"] for other in told["alternatives"]] == [other.uid for other in source.alternatives]
    t1, t1ce, _, flair = answer["sequences"]
    assert [(other["number"], other["reasons"][0].partition(":")[0]) for other in t1["alternatives"]] == [
        (6, "computed-word")
    ]
    assert [other["number"] for other in t1ce["alternatives"]] == [4]
    assert [reason.partition(":")[0] for reason in flair["missing"]] == ["nothing-like-it"]


def test_a_series_that_the_caller_names_is_taken(stack: tuple[Server, Server]) -> None:
    job = json.dumps({"series": {"1.2.3.6": "flair", "1.2.3.5": None}}).encode()
    reply = ask(stack, *in_multipart({"dicom": STUDY, "job": job}))
    assert chosen(reply) == {"t1": "1.2.3.2", "t1ce": "1.2.3.4", "t2": "1.2.3.3", "flair": "1.2.3.6"}


def test_metadata_will_do(stack: tuple[Server, Server]) -> None:
    listed = [dcmread(DicomBytesIO(file), stop_before_pixels=True).to_json_dict() for file in FILES]
    assert chosen(ask(stack, json.dumps(listed).encode(), METADATA)) == chosen(ask(stack, STUDY))


def test_what_would_fail_a_job_is_told(stack: tuple[Server, Server]) -> None:
    reply = ask(stack, to_zip(study((2, "brain", {}))).getvalue())
    assert set(chosen(reply).values()) == {None}
    assert reply.json()["refusal"]["code"] == "missing-sequence"
    assert "NIfTI" in reply.json()["refusal"]["detail"]


@pytest.mark.parametrize(
    ("data", "headers", "status", "code"),
    [
        (b"", ZIP, 400, "invalid-request"),
        (b"PK", ZIP, 400, "invalid-dicom"),
        (STUDY[:-30], ZIP, 400, "invalid-dicom"),
        (b"PK" + bytes(LIMIT), ZIP, 413, "input-too-large"),
        (b"[" + b" " * 100_000 + b"]", METADATA, 413, "input-too-large"),
        (b"[]", METADATA, 400, "invalid-request"),
        (b"nothing", METADATA, 400, "invalid-request"),
        (b'[{"00080060": {"vr": "CS", "Value": ["CT"]}}]', METADATA, 422, "not-mr"),
        (STUDY, {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (STUDY, {**ZIP, "Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
        (*in_multipart({"job": b"{}"}), 400, "invalid-request"),
        (*in_multipart({"dicom": STUDY, "job": b'{"series": {"Doe": "t1"}}'}), 400, "invalid-request"),
        (*in_multipart({"dicom": STUDY, "job": b'{"series": {"1.2.3.99": "t1"}}'}), 422, "missing-sequence"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_looked_at_is_refused(
    stack: tuple[Server, Server], data: bytes, headers: Mapping[str, str], status: int, code: str
) -> None:
    reply = ask(stack, data, headers)
    assert (reply.status, reply.json()["code"]) == (status, code), reply.body
    assert "1.2.3" not in reply.body.decode()
    assert "Doe" not in reply.body.decode()


def test_a_wrong_query_is_refused(stack: tuple[Server, Server]) -> None:
    assert stack[0].request("POST", PATH + "?model=x", STUDY, ZIP).status == 400


def test_one_that_is_being_sent_holds_its_place_and_gives_it_back(stack: tuple[Server, Server]) -> None:
    with begun(stack[1]) as waiting:
        eventually(lambda: ask(stack, STUDY), 429)
        waiting.shutdown(socket.SHUT_RDWR)
    eventually(lambda: ask(stack, STUDY), 200)


def begun(server: Server) -> socket.socket:
    """A connection whose request has a place: one that comes before the place of the last is free is refused."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: {len(STUDY)}\r\n\r\n"
    end_s = time.monotonic() + 20
    while True:
        waiting = server.connect()
        waiting.sendall(head.encode() + STUDY[:10])
        if not select.select([waiting], [], [], 0.5)[0]:
            return waiting
        waiting.close()
        assert time.monotonic() < end_s


def eventually(asked: Any, status: int) -> None:
    end_s = time.monotonic() + 20
    while (reply := asked()).status != status:
        assert time.monotonic() < end_s, reply.body
        time.sleep(0.1)
    if status == 429:
        assert int(reply.headers["retry-after"]) >= 1


def test_nothing_of_the_study_is_logged(stack: tuple[Server, Server]) -> None:
    assert ask(stack, STUDY).status == 200
    for server in stack:
        assert PATH in server.log
        assert not [secret for secret in ("1.2.3.", "Doe", "t1_se_tra") if secret in server.log]


def test_it_is_for_who_may_send_jobs(stack: tuple[Server, Server], tmp_path: Path) -> None:
    keys = {scope: create_key(scope, frozenset({scope})) for scope in (Scope.INFER, Scope.JOBS)}
    file = tmp_path / "keys.json"
    file.write_text(KeyFile(keys=tuple(new.record for new in keys.values())).model_dump_json())
    env = {"FALX_API_KEYS_FILE": str(file)}
    with gateway_before(stack[1].base_url, stack[1].base_url, env=env) as gateway:
        for scope, status in ((Scope.INFER, 403), (Scope.JOBS, 200)):
            reply = gateway.request("POST", PATH, STUDY, {**ZIP, "X-API-Key": keys[scope].key})
            assert reply.status == status
        assert gateway.request("POST", PATH, STUDY, ZIP).status == 401
