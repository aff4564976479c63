"""``POST /v1/classifications`` on a real process with a real, tiny network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from core.contracts.classification import Classification
from core.contracts.operations.bodies import INLINE_EXAMPLE
from core.contracts.problem import Problem
from tests.fixtures.answers import in_json, in_multipart, open_png, without_timing
from tests.fixtures.images import make_dicom, make_png, to_jpeg, to_png
from tests.fixtures.models import CARD, LABELS
from tests.fixtures.servers import Reply, Server, running
from tests.support.make_samples import SAMPLES, SLICES

PATH = "/v1/classifications"
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[Server]:
    with running("classifier_service", {"FALX_MODELS_DIR": str(tiny_models)}) as server:
        yield server


def post(server: Server, body: bytes, headers: Mapping[str, str] = PNG, query: str = "") -> Reply:
    return server.request("POST", PATH + query, body, headers)


def head_bright_in(quadrant: int, height: int = 200, width: int = 200) -> npt.NDArray[np.uint8]:
    """A grainy head with one bright quadrant; the tiny network's classes are the quadrants in reading order."""
    head = np.zeros((height, width), np.uint8)
    cv2.ellipse(head, (width // 2, height // 2), (int(width * 0.45), int(height * 0.45)), 0, 0, 360, 1, -1)
    grain = np.random.default_rng(0).uniform(0, 120, head.shape)
    head = np.where(head > 0, grain, 0).astype(np.uint8)
    row, column = divmod(quadrant, 2)
    centre = (int(width * (0.35 + 0.3 * column)), int(height * (0.35 + 0.3 * row)))
    cv2.circle(head, centre, int(min(height, width) * 0.12), 250, -1)
    return head


@pytest.mark.parametrize("quadrant", range(4))
def test_the_answer_follows_the_image(server: Server, quadrant: int) -> None:
    reply = post(server, to_png(head_bright_in(quadrant)))
    assert reply.status == 200
    answer = Classification.model_validate_json(reply.body)
    assert answer.label == LABELS[quadrant]
    assert answer.probability == answer.probabilities[answer.label] == max(answer.probabilities.values())
    assert tuple(answer.probabilities) == LABELS
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    assert answer.prediction_set[0] == answer.label
    assert answer.coverage == 0.95
    assert answer.model.name == "tumor-classifier"
    assert answer.model.provider == "CPUExecutionProvider"
    assert answer.request_id == reply.headers["x-request-id"]
    assert answer.disclaimer == "Research use only. Not a medical device."
    assert min(answer.timing_ms.decode, answer.timing_ms.inference) > 0
    assert "explanation" not in reply.json()
    assert reply.headers["cache-control"] == "no-store"


def test_every_body_gives_the_same_answer(server: Server) -> None:
    image = make_png()
    raw = post(server, image).json()
    multipart = post(server, *in_multipart({"file": image})).json()
    typed = post(server, *in_multipart({"file": image}, "image/png")).json()
    sniffed = post(server, image, {"Content-Type": "application/octet-stream"}).json()
    in_text = post(server, json.dumps({"image": in_json(image)}).encode(), {"Content-Type": "application/json"}).json()
    answers = [without_timing(answer) for answer in (raw, multipart, typed, sniffed, in_text)]
    assert answers == [answers[0]] * 5


def test_a_dicom_slice_is_classified(server: Server) -> None:
    reply = post(server, make_dicom(head_bright_in(2)), {"Content-Type": "application/dicom"})
    assert (reply.status, reply.json()["label"]) == (200, "pituitary")


@pytest.mark.parametrize("quadrant", range(4))
@pytest.mark.parametrize(("height", "width"), [(200, 200), (151, 240)])
def test_the_heat_lies_on_the_evidence(server: Server, quadrant: int, height: int, width: int) -> None:
    pixels = head_bright_in(quadrant, height, width)
    explanation = post(server, to_png(pixels), query="?explain=cam").json()["explanation"]
    assert (explanation["kind"], explanation["media_type"]) == ("cam", "image/png")
    picture = open_png(base64.b64decode(explanation["data"])).astype(np.int32)
    assert picture.shape == (height, width, 3)
    tint = np.abs(picture - picture.mean(axis=2, keepdims=True)).sum(axis=2)
    assert tint.max() > 20
    rows, columns = np.mgrid[:height, :width]
    quadrants = 2 * (rows >= height // 2) + (columns >= width // 2)
    assert np.argmax(np.bincount(quadrants.ravel(), tint.ravel())) == quadrant


@pytest.mark.parametrize("name", SLICES)
def test_a_head_is_familiar(server: Server, name: str) -> None:
    check = post(server, (SAMPLES / name).read_bytes()).json()["input_check"]
    assert check["in_distribution"], check["reasons"]
    assert check["score"] >= 0.5
    assert check["reasons"] == []


def test_what_is_no_slice_is_said_so(server: Server) -> None:
    colours = np.random.default_rng(3).integers(0, 255, (100, 300, 3), np.uint8)
    check = post(server, to_jpeg(colours), {"Content-Type": "image/jpeg"}).json()["input_check"]
    assert not check["in_distribution"]
    assert check["score"] < 0.5
    assert any("3.0 times as long as wide" in reason for reason in check["reasons"])
    assert any("coloured" in reason for reason in check["reasons"])


@pytest.mark.parametrize("model", ["tumor-classifier", "tumor-classifier@1"])
def test_a_model_is_chosen_by_name(server: Server, model: str) -> None:
    reply = post(server, make_png(), query=f"?model={model}")
    assert (reply.json()["model"]["name"], reply.json()["model"]["version"]) == ("tumor-classifier", "1")


@pytest.mark.parametrize(
    ("query", "status", "code", "pointer"),
    [
        ("?model=nobody", 404, "unknown-model", None),
        ("?model=tumor-classifier@9", 404, "unknown-model", None),
        ("?model=tumor-segmenter", 404, "unknown-model", None),
        ("?explain=gradcam", 400, "invalid-request", "query/explain"),
        ("?explain=", 400, "invalid-request", "query/explain"),
        ("?explian=cam", 400, "invalid-request", "query/explian"),
        ("?threshold=0.5", 400, "invalid-request", "query/threshold"),
    ],
)
def test_a_faulty_query_is_named(server: Server, query: str, status: int, code: str, pointer: str | None) -> None:
    reply = post(server, make_png(), query=query)
    problem = Problem.model_validate_json(reply.body)
    assert (reply.status, problem.status, problem.code) == (status, status, code)
    assert [error.pointer for error in problem.errors] == ([pointer] if pointer else [])


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (make_png()[:400], PNG, 400, "invalid-image"),
        (b"", PNG, 400, "invalid-request"),
        (make_png(), {"Content-Type": "image/jpeg"}, 400, "invalid-image"),
        (make_png(), {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (make_png(8, 8), PNG, 422, "invalid-image"),
        (make_dicom(modality="CT"), {"Content-Type": "application/dicom"}, 422, "not-mr"),
        (b'{"image": "!!!"}', {"Content-Type": "application/json"}, 400, "invalid-request"),
        (b'{"images": {"t1": ""}}', {"Content-Type": "application/json"}, 400, "invalid-request"),
        (*in_multipart({"t1": make_png()}), 400, "invalid-request"),
    ],
)
def test_a_faulty_body_is_a_problem(
    server: Server, body: bytes, headers: Mapping[str, str], status: int, code: str
) -> None:
    reply = post(server, body, headers)
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.status, reply.json()["code"]) == (status, code)


def test_operators_set_the_limits(tiny_models: Path) -> None:
    limits = {"FALX_MAX_IMAGE_SIDE": "300", "FALX_MAX_IMAGE_BYTES": "100000", "FALX_MAX_IMAGE_PIXELS": "60000"}
    with running("classifier_service", {"FALX_MODELS_DIR": str(tiny_models), **limits}) as server:
        assert post(server, make_png(240, 240)).status == 200
        assert post(server, make_png(40, 310)).json()["code"] == "decompression-bomb"
        assert post(server, make_png(250, 250)).json()["code"] == "decompression-bomb"
        assert post(server, bytes(100_001)).json()["code"] == "input-too-large"


def test_the_process_tells_what_it_serves(server: Server) -> None:
    models: Any = server.request("GET", "/v1/models").json()["models"]
    assert [model["name"] for model in models] == ["tumor-classifier"]
    assert server.request("GET", "/v2/models/tumor-classifier").json()["inputs"][0]["name"] == "image"
    assert server.request("GET", "/readyz").json()["dependencies"][0]["provider"] == "CPUExecutionProvider"
    assert 'falx_active_provider{model="tumor-classifier",provider="CPUExecutionProvider"} 1.0' in (
        server.request("GET", "/metrics").body.decode()
    )


def test_the_card_of_a_model_is_its_file(server: Server) -> None:
    for name in ("tumor-classifier", "tumor-classifier@1"):
        reply = server.request("GET", f"/v1/models/{name}/card")
        assert (reply.status, reply.body.decode()) == (200, CARD)
        assert reply.headers["content-type"] == "text/markdown; charset=utf-8"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no-such", "unknown-model"),
        ("tumor-classifier@2", "unknown-model"),
        ("*@*", "unknown-model"),
        ("..@tumor-classifier", "unknown-model"),
        # A bundle of another task in the same folder, which this process does not serve.
        ("tumor-segmenter", "unknown-model"),
        ("tumor-segmenter@1", "not-found"),
        ("%2e%2e%2ftumor-classifier@1", "not-found"),
    ],
)
def test_no_card_is_a_problem(server: Server, name: str, code: str) -> None:
    reply = server.request("GET", f"/v1/models/{name}/card")
    assert (reply.status, reply.json()["code"]) == (404, code)


def test_the_document_shows_an_example_that_holds(server: Server) -> None:
    document: Any = server.request("GET", "/openapi.json").json()
    operation = document["paths"][PATH]["post"]
    Classification.model_validate(operation["responses"]["200"]["content"]["application/json"]["example"])
    assert {"400", "404", "413", "415", "422", "429", "503", "504"} <= operation["responses"].keys()
    # JSON bodies stand in its words.
    assert f"`{INLINE_EXAMPLE}`" in operation["description"]
    reply = post(server, INLINE_EXAMPLE.encode(), {"Content-Type": "application/json"})
    assert reply.status == 200
    for status, response in operation["responses"].items():
        for shown in response["content"].get("application/problem+json", {}).get("examples", {}).values():
            assert Problem.model_validate(shown["value"]).status == int(status)


def test_a_folder_without_models_stops_the_start(tmp_path: Path) -> None:
    with running("classifier_service", {"FALX_MODELS_DIR": str(tmp_path)}, wait_ready=False) as server:
        assert server.wait() == 1
        assert "holds no classification bundle" in server.log
