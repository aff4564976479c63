"""Class and outline in one call: real model servers behind a real gateway, beside the two routes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from core.contracts.analysis import Analysis, AnalysisBatch
from core.contracts.operations.analyses import ANALYZE, ANALYZE_BATCH
from core.contracts.operations.slices import CLASSIFY, SEGMENT
from tests.fixtures.answers import BOUNDARY, in_json, in_multipart, without_timing
from tests.fixtures.images import make_dicom, make_head_slice, make_jpeg, make_png, to_png, to_tiff
from tests.fixtures.servers import Reply, Server, running
from tests.support.gateway import gateway_before
from tests.support.make_samples import no_head
from tests.support.quadrants import GLIOMA, HEALTHY, SIDE, head, write_sure_models

PNG = {"Content-Type": "image/png"}
OVERLAY = "image/png; profile=overlay"
# What differs from one request to the next.
_OWN = re.compile(rb'"timing_ms":\{[^}]*\}|"request_id":"[^"]*"')
MOST_BYTES = 4 * 2**20
DEMAND = {"outlined": head(GLIOMA, 0.3, spot=True), "missed": head(GLIOMA, 0.3), "unsure": head(GLIOMA, 0.05)}
DEMAND |= {"healthy": head(HEALTHY, 0.3), "false alarm": head(HEALTHY, 0.3, spot=True)}


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    models = write_sure_models(tmp_path_factory.mktemp("models"))
    env = {"FALX_MODELS_DIR": str(models), "FALX_MAX_IMAGE_BYTES": str(MOST_BYTES), "FALX_LOG_LEVEL": "info"}
    with ExitStack() as servers:
        classifier = servers.enter_context(running("classifier_service", env))
        segmenter = servers.enter_context(running("segmenter_service", env))
        yield classifier.base_url, segmenter.base_url


@pytest.fixture(scope="module")
def gateway(urls: tuple[str, str]) -> Iterator[Server]:
    with gateway_before(*urls) as server:
        yield server


def send(server: Server, query: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    return server.request("POST", ANALYZE.path + query, body, headers)


def analysis(server: Server, body: bytes, headers: Mapping[str, str] = PNG, query: str = "") -> dict[str, Any]:
    reply = send(server, query, body, headers)
    assert reply.status == 200, reply.body
    Analysis.model_validate_json(reply.body)
    answer: dict[str, Any] = reply.json()
    return answer


def plain(body: bytes) -> bytes:
    return _OWN.sub(b"", body)


WAYS = {
    "png": (DEMAND["missed"], PNG),
    "jpeg": (make_jpeg(80, 60), {"Content-Type": "image/jpeg"}),
    "dicom": (make_dicom(), {"Content-Type": "application/dicom"}),
    "unnamed": (DEMAND["outlined"], {"Content-Type": "application/octet-stream"}),
    "part": in_multipart({"file": DEMAND["outlined"]}),
    "json": (json.dumps({"image": in_json(DEMAND["healthy"])}).encode(), {"Content-Type": "application/json"}),
    # Too long to be held for a second try, so both model servers are fed as it comes.
    "long": (to_png(make_head_slice(1400, 1400), compress_level=0), PNG),
    "unfamiliar": (to_png(no_head()), PNG),
}


@pytest.mark.parametrize("way", WAYS)
def test_both_parts_are_byte_for_byte_what_the_two_routes_answer(gateway: Server, way: str) -> None:
    body, headers = WAYS[way]
    reply = send(gateway, "?explain=cam&threshold=0.6", body, headers)
    assert reply.status == 200, reply.body
    alone = gateway.request("POST", CLASSIFY.path + "?explain=cam", body, headers)
    outlined = gateway.request("POST", SEGMENT.path + "?threshold=0.6", body, headers)
    assert b'"classification":' + plain(alone.body) in plain(reply.body)
    assert b'"segmentation":' + plain(outlined.body) in plain(reply.body)
    answer = reply.json()
    for part in (answer, answer["classification"], answer["segmentation"]):
        assert part["request_id"] == reply.headers["x-request-id"]
    assert answer["classification"]["model"]["name"] == "tumor-classifier"
    assert answer["segmentation"]["model"]["name"] == "tumor-segmenter"
    assert answer["disclaimer"] == alone.json()["disclaimer"]
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["vary"] == "Accept"
    assert reply.headers["content-type"] == "application/json"


def test_without_a_wish_there_is_no_explanation(gateway: Server) -> None:
    found = analysis(gateway, DEMAND["outlined"])
    assert {"explanation", "sequence"}.isdisjoint(found["classification"])


@pytest.mark.parametrize(
    ("slice_", "agreement", "words"),
    [
        ("outlined", "agree", None),
        ("healthy", "agree", None),
        ("missed", "outline-empty", "The likeliest class is glioma (probability {p:.2f}), but no tumour is outlined."),
        ("unsure", "outline-empty", "The likeliest class is glioma (probability {p:.2f}), but no tumour is outlined."),
        (
            "false alarm",
            "class-no-tumor-but-outlined",
            "The likeliest class is no_tumor (probability {p:.2f}), but a tumour is outlined.",
        ),
    ],
)
def test_class_and_outline_that_contradict_each_other_say_so(
    gateway: Server, slice_: str, agreement: str, words: str | None
) -> None:
    found = analysis(gateway, DEMAND[slice_])
    assert found["agreement"] == agreement
    said = found["contradiction"]
    if words is None:
        assert said is None
        return
    assert said["code"] == agreement
    assert said["detail"].startswith(words.format(p=found["classification"]["probability"]))
    assert said["candidate"] == (found["segmentation"]["candidate"] if agreement == "outline-empty" else None)
    # The bright quadrant is the candidate, where it is bright enough to be one.
    assert ("The candidate" in said["detail"]) == (slice_ == "missed") == (said["candidate"] is not None)
    if said["candidate"]:
        left, top, width, height = said["candidate"]["bounding_box"]
        assert max(left + width, top + height) <= SIDE / 2 + 4


def test_the_threshold_of_the_caller_decides_whether_something_is_outlined(gateway: Server) -> None:
    assert analysis(gateway, DEMAND["outlined"], query="?threshold=0.5")["agreement"] == "agree"
    probability = analysis(gateway, DEMAND["outlined"])["segmentation"]["max_probability"]
    above = (1 + probability) / 2
    assert analysis(gateway, DEMAND["outlined"], query=f"?threshold={above}")["agreement"] == "outline-empty"


def test_the_input_check_is_that_of_the_part_which_finds_the_image_less_familiar(gateway: Server) -> None:
    for name, familiar in (("outlined", True), ("unfamiliar", False)):
        found = analysis(gateway, DEMAND[name] if familiar else WAYS[name][0])
        checks = [found[part]["input_check"] for part in ("classification", "segmentation")]
        assert found["input_check"] == min(checks, key=lambda check: check["score"])
        assert found["input_check"]["in_distribution"] is familiar
        assert bool(found["input_check"]["reasons"]) is not familiar


@pytest.mark.parametrize(
    ("names", "classified"),
    [
        (("t1", "t1ce", "t2", "flair"), "t1ce"),
        (("t1", "t2", "flair"), "t1"),
        (("t2", "flair"), "t2"),
        (("flair",), "flair"),
    ],
)
@pytest.mark.parametrize("inline", [False, True])
def test_of_sequences_by_name_one_is_classified_and_all_are_outlined(
    gateway: Server, names: tuple[str, ...], classified: str, inline: bool
) -> None:
    images = {name: head(index, 0.3) for index, name in enumerate(names)}
    body, headers = in_multipart(images)
    if inline:
        body = json.dumps({"images": {name: in_json(image) for name, image in images.items()}}).encode()
        headers = {"Content-Type": "application/json"}
    found = analysis(gateway, body, headers)
    assert found["classification"]["sequence"] == classified
    alone = gateway.request("POST", CLASSIFY.path, images[classified], PNG).json()
    assert without_timing(found["classification"]) == without_timing(alone) | {"sequence": classified}
    outlined = gateway.request("POST", SEGMENT.path, body, headers).json()
    assert without_timing(found["segmentation"]) == without_timing(outlined)
    assert set(found["segmentation"]["sequences"]) == set(names)
    assert gateway.request("POST", CLASSIFY.path, body, headers).status == 400, "it takes one image, as ever"


@pytest.mark.parametrize(
    ("slice_", "agreement"), [("outlined", "agree"), ("missed", "outline-empty"), ("unfamiliar", None)]
)
@pytest.mark.parametrize("accept", ["image/png", OVERLAY, "image/png; profile=image"])
def test_pictures_are_those_of_a_segmentation_with_the_class_in_headers(
    gateway: Server, slice_: str, agreement: str | None, accept: str
) -> None:
    image = DEMAND.get(slice_, WAYS["unfamiliar"][0])
    picture = send(gateway, "", image, {**PNG, "Accept": accept})
    alone = gateway.request("POST", SEGMENT.path, image, {**PNG, "Accept": accept})
    told = analysis(gateway, image)
    assert (picture.status, picture.body) == (200, alone.body)
    own = {name for name in picture.headers if name.startswith(("x-falx-input", "server-timing", "date", "x-request"))}
    assert {name: value for name, value in alone.headers.items() if name not in own}.items() <= picture.headers.items()
    model, headers = told["classification"]["model"], picture.headers
    assert headers["x-falx-label"] == told["classification"]["label"]
    assert headers["x-falx-probability"] == f"{told['classification']['probability']:.4f}"
    assert headers["x-falx-classifier"] == "tumor-classifier@1"
    assert headers["x-falx-classifier-sha256"] == model["sha256"]
    assert headers["x-falx-classifier-provider"] == model["provider"]
    assert headers["x-falx-agreement"] == (agreement or told["agreement"])
    check = told["input_check"]
    assert headers["x-falx-input-check"] == ("familiar" if check["in_distribution"] else "unfamiliar")
    assert headers["x-falx-input-score"] == f"{check['score']:.4f}"
    assert headers.get("x-falx-input-reasons", "") == "; ".join(check["reasons"])


def test_the_overlay_by_its_address(gateway: Server) -> None:
    by_accept = send(gateway, "", DEMAND["outlined"], {**PNG, "Accept": OVERLAY})
    assert send(gateway, "?render=overlay", DEMAND["outlined"], PNG).body == by_accept.body


def files(*images: bytes) -> tuple[bytes, dict[str, str]]:
    head_ = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="DOE_JANE.png"\r\n\r\n'.encode()
    body = b"".join(head_ + image + b"\r\n" for image in images)
    return body + f"--{BOUNDARY}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.mark.parametrize("path", [ANALYZE.path, ANALYZE_BATCH.path])
def test_several_files_have_an_item_each_and_a_bad_one_harms_no_other(gateway: Server, path: str) -> None:
    broken = DEMAND["healthy"][:60]
    reply = gateway.request("POST", path, *files(DEMAND["missed"], broken, DEMAND["healthy"]))
    assert reply.status == 200, reply.body
    AnalysisBatch.model_validate_json(reply.body)
    assert reply.headers["x-falx-files"] == "3"
    first, second, third = reply.json()["items"]
    assert [item["index"] for item in (first, second, third)] == [0, 1, 2]
    assert second.keys() == {"index", "status", "problem"}
    assert (second["status"], second["problem"]["code"]) == (400, "invalid-image")
    for item, name in ((first, "missed"), (third, "healthy")):
        alone = analysis(gateway, DEMAND[name])
        assert item["answer"]["agreement"] == alone["agreement"]
        assert item["answer"]["contradiction"] == alone["contradiction"]
        for part in ("classification", "segmentation"):
            assert without_timing(item["answer"][part]) == without_timing(alone[part])
    assert b"DOE_JANE" not in reply.body


def test_one_file_is_a_list_on_the_path_of_batches_alone(gateway: Server) -> None:
    sent = files(DEMAND["healthy"])
    assert len(gateway.request("POST", ANALYZE_BATCH.path, *sent).json()["items"]) == 1
    assert "items" not in gateway.request("POST", ANALYZE.path, *sent).json()


def test_each_file_counts_for_the_rate(urls: tuple[str, str]) -> None:
    with gateway_before(*urls, env={"FALX_RATE_LIMIT": "4/minute"}) as server:
        assert server.request("POST", ANALYZE.path, *files(*[DEMAND["healthy"]] * 3)).status == 200
        assert send(server, "", DEMAND["healthy"], PNG).status == 200
        refused = send(server, "", DEMAND["healthy"], PNG)
        assert (refused.status, refused.json()["code"]) == (429, "rate-limited")


_TWO_SIZES = in_multipart({"t1ce": make_png(64, 64), "flair": make_png(80, 80)})
_BROKEN_PART = in_multipart({"t1ce": make_png(64, 64)[:80], "flair": make_png(64, 64)})
_SPARE_PART = in_multipart({"t1ce": make_png(64, 64), "t2": make_png(64, 64)[:80]})
_ONE = make_png(64, 64)


@pytest.mark.parametrize(
    ("query", "body", "headers", "status", "code", "pointer"),
    [
        ("?model=tumor-classifier", _ONE, PNG, 400, "invalid-request", "query"),
        ("?explain=all", _ONE, PNG, 400, "invalid-request", "query/explain"),
        ("?threshold=2", _ONE, PNG, 400, "invalid-request", "query/threshold"),
        ("?threshold=nan", _ONE, PNG, 400, "invalid-request", "query/threshold"),
        ("?threshold=0.5&threshold=0.5", _ONE, PNG, 400, "invalid-request", "query/threshold"),
        ("?classifier=tumor-segmenter", _ONE, PNG, 404, "unknown-model", None),
        ("?segmenter=tumor-classifier", _ONE, PNG, 404, "unknown-model", None),
        ("?segmenter=tumor-segmenter%407", _ONE, PNG, 404, "unknown-model", None),
        ("", b"", PNG, 400, "invalid-request", None),
        ("", _ONE[:100], PNG, 400, "invalid-image", None),
        ("", _ONE, {"Content-Type": "text/plain"}, 415, "unsupported-media-type", None),
        ("", _ONE, {**PNG, "Content-Encoding": "gzip"}, 415, "unsupported-media-type", None),
        ("", _ONE, {**PNG, "Accept": "text/html"}, 406, "not-acceptable", None),
        ("", bytes(MOST_BYTES + 1), PNG, 413, "input-too-large", None),
        ("", *_TWO_SIZES, 422, "inconsistent-geometry", None),
        ("", *_BROKEN_PART, 400, "invalid-image", "part/t1ce"),
        ("", *_SPARE_PART, 400, "invalid-image", "part/t2"),
        ("", b'{"images": {}}', {"Content-Type": "application/json"}, 422, "missing-sequence", "#/images"),
        ("?render=overlay", *files(_ONE, _ONE), 406, "not-acceptable", None),
    ],
)
def test_what_is_wrong_is_a_problem_as_on_the_two_routes(
    gateway: Server, query: str, body: bytes, headers: Mapping[str, str], status: int, code: str, pointer: str | None
) -> None:
    reply = send(gateway, query, body, headers)
    problem = reply.json()
    assert (reply.status, problem["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == reply.headers["x-request-id"]
    if pointer:
        assert [fault["pointer"] for fault in problem["errors"]] == [pointer]


def test_both_models_can_be_chosen(gateway: Server) -> None:
    query = "?classifier=tumor-classifier%401&segmenter=tumor-segmenter@1"
    found = analysis(gateway, DEMAND["outlined"], query=query)
    assert [found[part]["model"]["version"] for part in ("classification", "segmentation")] == ["1", "1"]


def test_a_value_that_is_no_number_never_reaches_a_network(gateway: Server) -> None:
    grey = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    grey[31, 7] = np.nan
    reply = send(gateway, "", to_tiff(grey), {"Content-Type": "image/tiff"})
    assert (reply.status, reply.json()["code"]) == (422, "invalid-image")
    assert "not numbers" in reply.json()["detail"]
