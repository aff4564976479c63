"""One value that is no number, anywhere in an input, on every route of slices: refused by name, never run."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.errors import InvalidRequest
from core.runtime.session import TensorSpec
from core.serving.v2_tensors import HEADER_LENGTH, parse_request
from tests.fixtures.images import make_dicom, to_tiff
from tests.fixtures.servers import Reply, Server, running

SIDE = 64
VALUES = (float("nan"), float("inf"), float("-inf"))
PLACES = {"first": 0, "middle": SIDE * SIDE // 2 + SIDE // 2, "last": SIDE * SIDE - 1}


def picture(value: float, place: str) -> npt.NDArray[np.float32]:
    grey = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32)
    grey[PLACES[place]] = value
    return grey.reshape(SIDE, SIDE)


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[Server]:
    with running("classifier_service", {"FALX_MODELS_DIR": str(tiny_models), "FALX_LOG_LEVEL": "warning"}) as started:
        yield started


def check(reply: Reply, code: str) -> None:
    assert 400 <= reply.status < 500, reply.body
    assert reply.json()["code"] == code


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", VALUES)
def test_a_tiff_of_floats(server: Server, value: float, place: str) -> None:
    data = to_tiff(picture(value, place))
    reply = server.request("POST", "/v1/classifications", data, {"Content-Type": "image/tiff"})
    check(reply, "invalid-image")
    assert "not numbers" in reply.json()["detail"]
    assert (
        server.request(
            "POST", "/v1/classifications", to_tiff(picture(0.5, place)), {"Content-Type": "image/tiff"}
        ).status
        == 200
    )
    instances = {"image": base64.b64encode(data).decode()}
    reply = server.request(
        "POST", "/v1/classifications", json.dumps(instances).encode(), {"Content-Type": "application/json"}
    )
    check(reply, "invalid-image")


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"])
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400"])
def test_numbers_of_a_dicom_header(server: Server, keyword: str, text: str) -> None:
    grey = (picture(0.5, "first") * 1000).astype(np.uint16)
    other = {"WindowCenter": "500", "WindowWidth": "400"} if keyword.startswith("Window") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom tells what is wrong with the text, which is why it is sent
        data = make_dicom(grey, elements={**other, keyword: text})
    reply = server.request("POST", "/v1/classifications", data, {"Content-Type": "application/dicom"})
    check(reply, "invalid-dicom")
    assert keyword in reply.json()["detail"]


def v2_body(rows: npt.NDArray[Any], *, binary: bool) -> tuple[bytes, dict[str, str]]:
    datatype = {"float16": "FP16", "float32": "FP32", "float64": "FP64"}[rows.dtype.name]
    tensor: dict[str, Any] = {"name": "images", "shape": list(rows.shape), "datatype": datatype}
    if not binary:
        # 1e400 and NaN are how JSON's writers put what JSON has no word for.
        text = json.dumps({"inputs": [{**tensor, "data": rows.ravel().tolist()}]}).replace("Infinity", "1e400")
        return text.encode(), {}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": rows.nbytes}}]}).encode()
    return head + rows.tobytes(), {HEADER_LENGTH: str(len(head))}


@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_row_among_others_of_a_v2_request(server: Server, binary: bool, row: int, value: float, place: str) -> None:
    served = server.request("GET", "/v2/models/tumor-classifier").json()
    shape = [3, *(SIDE if side == -1 else side for side in served["inputs"][0]["shape"][1:])]
    rows = np.full(shape, 0.5, np.float32)
    flat = rows[row].reshape(-1)
    flat[{"first": 0, "middle": flat.size // 2, "last": flat.size - 1}[place]] = value
    body, headers = v2_body(rows, binary=binary)
    reply = server.request("POST", "/v2/models/tumor-classifier/infer", body, headers)
    check(reply, "invalid-request")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("binary", [False, True], ids=["JSON", "binary"])
def test_tensors_of_every_width(dtype: Any, value: float, place: int, binary: bool) -> None:
    spec = TensorSpec("images", np.dtype(dtype), (None, 3))
    rows = np.linspace(0, 1, 6, dtype=dtype).reshape(2, 3)
    body, headers = v2_body(rows, binary=binary)
    assert parse_request(body, headers.get(HEADER_LENGTH), [spec], [], max_rows=4).inputs["images"].shape == (2, 3)
    rows.reshape(-1)[place] = value
    body, headers = v2_body(rows, binary=binary)
    with pytest.raises(InvalidRequest):
        parse_request(body, headers.get(HEADER_LENGTH), [spec], [], max_rows=4)


def test_what_is_finite_and_leaves_the_width_is_refused() -> None:
    for dtype, value in ((np.float16, 1e5), (np.float32, 1e39)):
        spec = TensorSpec("images", np.dtype(dtype), (None, 1))
        name = "FP16" if dtype is np.float16 else "FP32"
        body = json.dumps({"inputs": [{"name": "images", "shape": [1, 1], "datatype": name, "data": [value]}]})
        with pytest.raises(InvalidRequest, match="NaN or infinite"):
            parse_request(body.encode(), None, [spec], [], max_rows=1)
