"""The protocol's routes on a real server with real tiny networks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import APIRouter

from core.serving.model_app import create_model_app
from core.serving.settings import ModelServingSettings
from core.serving.v2_tensors import HEADER_LENGTH
from tests.fixtures.servers import Reply, request, serving

MAX_QUEUE = 8
MAX_BYTES = 2 * 1024 * 1024


@pytest.fixture(scope="module")
def classifier(tiny_models: Path) -> Iterator[str]:
    """Base URL of a server with the tiny classifier and no route but those of every model server."""
    settings = ModelServingSettings(
        models_dir=tiny_models, precision="reference", max_queue=MAX_QUEUE, max_image_bytes=MAX_BYTES
    )
    with serving(create_model_app("test", "classification", settings, lambda _: APIRouter()), settings) as url:
        yield url


def image(rows: int = 1, brightest: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows (n, 1, 64, 64) whose brightest quadrant is the second one."""
    images = np.full((rows, 1, 64, 64), 0.1, np.float32)
    row, column = divmod(brightest, 2)
    images[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 0.9
    return images


def head(rows: int = 1, **members: Any) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": "image",
                "shape": [rows, 1, 64, 64],
                "datatype": "FP32",
                "parameters": {"binary_data_size": rows * 64 * 64 * 4},
            }
        ],
        **members,
    }


def infer(
    url: str,
    document: object,
    tail: bytes = b"",
    *,
    path: str = "/v2/models/tumor-classifier/infer",
    headers: dict[str, str] | None = None,
) -> Reply:
    text = json.dumps(document).encode()
    length = {HEADER_LENGTH: str(len(text))} if tail else {}
    return request(url, "POST", path, text + tail, {**length, **(headers or {})})


def test_server_metadata(classifier: str) -> None:
    document = request(classifier, "GET", "/v2").json()
    assert document["name"] == "falx"
    assert "binary_tensor_data" in document["extensions"]


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/tumor-classifier/ready"])
def test_health(classifier: str, path: str) -> None:
    assert request(classifier, "GET", path).status == 200


@pytest.mark.parametrize("path", ["/v2/models/tumor-classifier", "/v2/models/tumor-classifier/versions/1"])
def test_model_metadata(classifier: str, path: str) -> None:
    document = request(classifier, "GET", path).json()
    assert document["versions"] == ["1"]
    assert document["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 64, 64]}]
    assert {"name": "logits", "datatype": "FP32", "shape": [-1, 4]} in document["outputs"]


def test_model_configuration(classifier: str) -> None:
    document = request(classifier, "GET", "/v2/models/tumor-classifier/config").json()
    assert document["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 64, 64]}]
    assert document["max_batch_size"] == MAX_QUEUE


def test_index_lists_the_models(classifier: str) -> None:
    reply = request(classifier, "POST", "/v2/repository/index", b"{}")
    assert reply.json() == [{"name": "tumor-classifier", "version": "1", "state": "READY", "reason": ""}]


def test_infer_with_json_in_and_out(classifier: str) -> None:
    document = {
        "id": "seven",
        "inputs": [{"name": "image", "shape": [1, 1, 64, 64], "datatype": "FP32", "data": image().ravel().tolist()}],
        "outputs": [{"name": "logits"}],
    }
    reply = infer(classifier, document)
    assert reply.status == 200
    answer = reply.json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("seven", "tumor-classifier", "1")
    assert [output["name"] for output in answer["outputs"]] == ["logits"]
    assert int(np.argmax(answer["outputs"][0]["data"])) == 1


def test_infer_with_binary_in_and_out_of_several_rows(classifier: str) -> None:
    images = np.concatenate([image(brightest=index) for index in (3, 0, 2)])
    outputs = [{"name": "logits", "parameters": {"binary_data": True}}]
    reply = infer(classifier, head(3, outputs=outputs), images.tobytes())
    assert reply.headers["content-type"] == "application/octet-stream"
    length = int(reply.headers[HEADER_LENGTH.lower()])
    described = json.loads(reply.body[:length])["outputs"]
    assert described == [
        {"name": "logits", "datatype": "FP32", "shape": [3, 4], "parameters": {"binary_data_size": 48}}
    ]
    assert np.frombuffer(reply.body[length:], "<f4").reshape(3, 4).argmax(axis=1).tolist() == [3, 0, 2]


def test_infer_with_a_compressed_body(classifier: str) -> None:
    text = json.dumps(head()).encode()
    reply = request(
        classifier,
        "POST",
        "/v2/models/tumor-classifier/versions/1/infer",
        gzip.compress(text + image().tobytes()),
        {HEADER_LENGTH: str(len(text)), "Content-Encoding": "gzip"},
    )
    assert reply.status == 200


def assert_problem(reply: Reply, status: int, code: str) -> None:
    """A problem as everywhere, and the member that the protocol's clients read."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["error"] == problem["detail"]
    assert problem["request_id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/absent"),
        ("GET", "/v2/models/absent/ready"),
        ("GET", "/v2/models/tumor-classifier/versions/9"),
        ("GET", "/v2/models/tumor-segmenter"),
        ("POST", "/v2/models/absent/infer"),
        ("POST", "/v2/models/tumor-classifier@1/versions/1/infer"),
    ],
)
def test_unknown_models(classifier: str, method: str, path: str) -> None:
    reply = request(classifier, method, path, b"{}" if method == "POST" else None)
    assert_problem(reply, 404, "unknown-model")
    assert "tumor-classifier@1" in reply.json()["detail"]


def test_broken_requests_get_a_problem(classifier: str) -> None:
    assert_problem(infer(classifier, {}), 400, "invalid-request")
    assert_problem(infer(classifier, head(), image().tobytes()[:-4]), 400, "invalid-request")
    assert_problem(request(classifier, "POST", "/v2/models/tumor-classifier/infer"), 400, "invalid-request")


def test_more_rows_than_the_queue_holds(classifier: str) -> None:
    reply = infer(classifier, head(MAX_QUEUE + 1), image(MAX_QUEUE + 1).tobytes())
    assert_problem(reply, 400, "invalid-request")
    assert f"at most {MAX_QUEUE}" in reply.json()["detail"]


def test_body_above_the_limit(classifier: str) -> None:
    assert_problem(infer(classifier, head(), bytes(MAX_BYTES)), 413, "input-too-large")


def test_bomb(classifier: str) -> None:
    reply = request(
        classifier,
        "POST",
        "/v2/models/tumor-classifier/infer",
        gzip.compress(bytes(5 * MAX_BYTES)),
        {"Content-Encoding": "gzip"},
    )
    assert_problem(reply, 413, "decompression-bomb")


def test_unknown_encoding(classifier: str) -> None:
    reply = infer(classifier, head(), image().tobytes(), headers={"Content-Encoding": "br"})
    assert_problem(reply, 415, "unsupported-media-type")
    assert reply.headers["accept-encoding"] == "gzip, deflate, identity"


def test_timeouts(classifier: str) -> None:
    """A microsecond is over before a thread has parsed the request and another one has run it."""
    assert_problem(infer(classifier, head(parameters={"timeout": 1}), image().tobytes()), 504, "deadline-exceeded")
    reply = infer(classifier, head(), image().tobytes(), headers={"X-Request-Timeout-Ms": "soon"})
    assert_problem(reply, 400, "invalid-request")
    assert infer(classifier, head(), image().tobytes(), headers={"X-Request-Timeout-Ms": "20000"}).status == 200


def test_what_runs_is_counted(classifier: str) -> None:
    infer(classifier, head(2), image(2).tobytes())
    text = request(classifier, "GET", "/metrics").body.decode()
    assert 'falx_active_provider{model="tumor-classifier",provider="CPUExecutionProvider"} 1.0' in text
    assert 'falx_queue_depth{model="tumor-classifier"} 0.0' in text
    assert 'falx_inference_seconds_count{model="tumor-classifier"}' in text
    assert 'falx_queue_seconds_count{model="tumor-classifier"}' in text
    assert 'falx_batch_size_sum{model="tumor-classifier"}' in text
    assert 'route="/v2/models/{name}/infer"' in text
