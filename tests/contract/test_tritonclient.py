"""``tritonclient[http]``, unchanged, drives both model servers: the client that sites with Triton or KServe have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.fixtures.servers import running

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One model server and what its tiny model must say."""

    module: str
    model: str
    input: str
    channels: int
    output: str
    output_shape: tuple[int, ...]

    def images(self, rows: int = 1) -> FloatArray:
        """Row i is bright in quadrant i (modulo 4)."""
        images = np.full((rows, self.channels, 64, 64), 0.1, np.float32)
        for index in range(rows):
            row, column = divmod(index % 4, 2)
            images[index, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 0.95
        return images

    def check(self, answer: FloatArray) -> None:
        """The answer must be about the quadrant that is bright."""
        assert answer.shape[1:] == self.output_shape
        for index, values in enumerate(answer):
            if values.ndim == 1:
                assert int(values.argmax()) == index % 4
            else:
                row, column = divmod(index % 4, 2)
                inside = values[0, 32 * row + 4 : 32 * row + 28, 32 * column + 4 : 32 * column + 28]
                assert inside.min() > 0.5
                assert (values[0] > 0.5).mean() < 0.3


CASES = [
    Case("classifier_service", "tumor-classifier", "image", 1, "logits", (4,)),
    Case("segmenter_service", "tumor-segmenter", "images", 4, "probability", (1, 64, 64)),
]


@pytest.fixture(scope="module", params=CASES, ids=[case.model for case in CASES])
def served(request: pytest.FixtureRequest, tiny_models: Path) -> Iterator[tuple[Case, triton.InferenceServerClient]]:
    case: Case = request.param
    with running(case.module, {"FALX_MODELS_DIR": str(tiny_models), "FALX_MAX_QUEUE": "16"}) as server:
        client = triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4)
        try:
            yield case, client
        finally:
            client.close()


Served = tuple[Case, Any]


def infer_input(case: Case, images: FloatArray, *, binary: bool = True) -> Any:
    tensor = triton.InferInput(case.input, list(images.shape), "FP32")
    return tensor.set_data_from_numpy(images, binary_data=binary)


def test_server_is_live_ready_and_says_what_it_is(served: Served) -> None:
    _, client = served
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "falx"
    assert "binary_tensor_data" in metadata["extensions"]


def test_models_are_listed_and_described(served: Served) -> None:
    case, client = served
    assert client.get_model_repository_index() == [{"name": case.model, "version": "1", "state": "READY", "reason": ""}]
    assert client.is_model_ready(case.model)
    assert client.is_model_ready(case.model, "1")
    assert not client.is_model_ready("absent")
    metadata = client.get_model_metadata(case.model)
    assert metadata["inputs"] == [{"name": case.input, "datatype": "FP32", "shape": [-1, case.channels, 64, 64]}]
    assert {"name": case.output, "datatype": "FP32", "shape": [-1, *case.output_shape]} in metadata["outputs"]
    assert client.get_model_config(case.model)["name"] == case.model


@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "JSON out"])
@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("rows", [1, 6])
def test_infer(served: Served, rows: int, binary_in: bool, binary_out: bool) -> None:
    case, client = served
    result = client.infer(
        case.model,
        [infer_input(case, case.images(rows), binary=binary_in)],
        outputs=[triton.InferRequestedOutput(case.output, binary_data=binary_out)],
        request_id="r-1",
    )
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == (case.model, "1", "r-1")
    assert [output["name"] for output in response["outputs"]] == [case.output]
    case.check(result.as_numpy(case.output))


def test_infer_returns_every_output_when_none_is_named(served: Served) -> None:
    case, client = served
    result = client.infer(case.model, [infer_input(case, case.images(4))], model_version="1")
    names = [output["name"] for output in client.get_model_metadata(case.model)["outputs"]]
    assert [output["name"] for output in result.get_response()["outputs"]] == names
    assert all(len(result.as_numpy(name)) == 4 for name in names)
    case.check(result.as_numpy(case.output))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_infer_with_compression(served: Served, algorithm: str, binary: bool) -> None:
    case, client = served
    result = client.infer(
        case.model,
        [infer_input(case, case.images(2), binary=binary)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    case.check(result.as_numpy(case.output))


def test_requests_side_by_side(served: Served) -> None:
    case, client = served
    pending = [client.async_infer(case.model, [infer_input(case, case.images(rows))]) for rows in (1, 2, 3, 4)]
    for request in pending:
        case.check(request.get_result().as_numpy(case.output))


@pytest.mark.parametrize(
    ("changes", "status", "fault"),
    [
        ({"model": "absent"}, "404", "No such model"),
        ({"version": "9"}, "404", "No such model"),
        ({"input": "pixels"}, "400", "Inputs must be"),
        ({"shape": (1, 2, 64, 64)}, "400", "has shape"),
        ({"shape": (1, 64, 64)}, "400", "has shape"),
        ({"dtype": "FP64"}, "400", "must have datatype FP32"),
        ({"dtype": "INT8"}, "400", "must have datatype FP32"),
        ({"output": "absent"}, "400", "Outputs must be"),
        ({"timeout": 1}, "504", "not ready in time"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_bad_requests_are_told_what_is_wrong(
    served: Served, changes: dict[str, Any], status: str, fault: str, binary: bool
) -> None:
    case, client = served
    dtypes = {"FP32": np.float32, "FP64": np.float64, "INT8": np.int8}
    dtype = changes.get("dtype", "FP32")
    shape = changes.get("shape", (1, case.channels, 64, 64))
    tensor = triton.InferInput(changes.get("input", case.input), list(shape), dtype)
    tensor.set_data_from_numpy(np.zeros(shape, dtypes[dtype]), binary_data=binary)
    outputs = [triton.InferRequestedOutput(changes["output"])] if "output" in changes else None
    with pytest.raises(InferenceServerException) as refusal:
        client.infer(
            changes.get("model", case.model),
            [tensor],
            model_version=changes.get("version", ""),
            outputs=outputs,
            timeout=changes.get("timeout"),
        )
    assert refusal.value.status() == status
    assert fault in refusal.value.message()


@pytest.mark.parametrize(("binary", "fault"), [(True, "NaN or infinite"), (False, "not JSON")], ids=["binary", "JSON"])
def test_nan_is_refused(served: Served, binary: bool, fault: str) -> None:
    case, client = served
    images = np.full((1, case.channels, 64, 64), np.nan, np.float32)
    with pytest.raises(InferenceServerException, match=fault):
        client.infer(case.model, [infer_input(case, images, binary=binary)])


def test_more_rows_than_the_queue_holds_are_refused(served: Served) -> None:
    case, client = served
    with pytest.raises(InferenceServerException, match="at most 16"):
        client.infer(case.model, [infer_input(case, case.images(17))])


def test_server_goes_on_after_bad_requests(served: Served) -> None:
    case, client = served
    case.check(client.infer(case.model, [infer_input(case, case.images(4))]).as_numpy(case.output))
