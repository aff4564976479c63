"""Requests and answers of the Open Inference Protocol as bytes."""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecompressionBomb, InvalidRequest, RequestError, UnsupportedMediaType
from core.http.inflate import inflate
from core.runtime.session import TensorSpec
from core.serving.v2_tensors import (
    DATATYPES,
    HEADER_LENGTH,
    InferRequest,
    RequestedOutput,
    encode_response,
    parse_request,
)

Array = npt.NDArray[Any]

INPUT = TensorSpec("x", np.dtype(np.float32), (None, 2, 3))
OUTPUTS = (TensorSpec("y", np.dtype(np.float32), (None, 4)), TensorSpec("z", np.dtype(np.float32), (None,)))
MAX_ROWS = 4
VALUES = [0.0, 0.5, 1.0, 0.25, -1.5, 2.0]


def tensor(**changes: Any) -> dict[str, Any]:
    """A sound JSON input, with changes; None removes a member."""
    members = {"name": "x", "shape": [1, 2, 3], "datatype": "FP32", "data": VALUES, **changes}
    return {key: value for key, value in members.items() if value is not None}


def parse(document: object, tail: bytes = b"", *, spec: TensorSpec = INPUT, length: str | None = None) -> InferRequest:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    header = length if length is not None else (str(len(head)) if tail else None)
    return parse_request(head + tail, header, [spec], OUTPUTS, max_rows=MAX_ROWS)


def binary(size: int = 24, **changes: Any) -> dict[str, Any]:
    return tensor(data=None, parameters={"binary_data_size": size}, **changes)


EXPECTED = np.array(VALUES, np.float32).reshape(1, 2, 3)


@pytest.mark.parametrize("data", [VALUES, EXPECTED.tolist()], ids=["flat", "nested"])
def test_json_tensor(data: object) -> None:
    request = parse({"id": "a1", "inputs": [tensor(data=data)]})
    np.testing.assert_array_equal(request.inputs["x"], EXPECTED)
    assert request.inputs["x"].dtype == np.float32
    assert request.id == "a1"
    assert request.outputs == (RequestedOutput("y", False), RequestedOutput("z", False))
    assert request.timeout_s is None


def test_integers_are_numbers() -> None:
    assert parse({"inputs": [tensor(data=[1, 2, 3, 4, 5, 6])]}).inputs["x"].ravel().tolist() == [1, 2, 3, 4, 5, 6]


def test_binary_tensor() -> None:
    request = parse({"inputs": [binary()]}, EXPECTED.tobytes())
    np.testing.assert_array_equal(request.inputs["x"], EXPECTED)


def test_binary_tensor_of_several_rows() -> None:
    rows = np.random.default_rng(0).random((3, 2, 3), np.float32)
    np.testing.assert_array_equal(parse({"inputs": [binary(72, shape=[3, 2, 3])]}, rows.tobytes()).inputs["x"], rows)


@pytest.mark.parametrize(
    ("request_parameters", "outputs", "expected"),
    [
        ({}, None, [("y", False), ("z", False)]),
        ({"binary_data_output": True}, None, [("y", True), ("z", True)]),
        ({}, [{"name": "z"}], [("z", False)]),
        ({}, [{"name": "z", "parameters": {"binary_data": True}}, {"name": "y"}], [("z", True), ("y", False)]),
        ({"binary_data_output": True}, [{"name": "z", "parameters": {"binary_data": False}}], [("z", False)]),
    ],
)
def test_outputs_asked_for(request_parameters: object, outputs: object, expected: list[tuple[str, bool]]) -> None:
    document = {"inputs": [tensor()], "parameters": request_parameters}
    if outputs is not None:
        document["outputs"] = outputs
    assert parse(document).outputs == tuple(RequestedOutput(*output) for output in expected)


def test_timeout_is_in_microseconds() -> None:
    assert parse({"inputs": [tensor()], "parameters": {"timeout": 250_000}}).timeout_s == 0.25


def test_unknown_members_are_left_to_extensions() -> None:
    parse({"inputs": [{**tensor(), "future": 1}], "parameters": {"priority": 3}, "other": []})


BROKEN: dict[str, tuple[object, bytes]] = {
    "no JSON": (b"{", b""),
    "empty": (b"", b""),
    "NaN literal": (b'{"inputs": [{"name":"x","shape":[1,2,3],"datatype":"FP32","data":[NaN,0,0,0,0,0]}]}', b""),
    "array": ([], b""),
    "null": (None, b""),
    "no inputs": ({}, b""),
    "empty inputs": ({"inputs": []}, b""),
    "inputs of another kind": ({"inputs": {"x": 1}}, b""),
    "wrong name": ({"inputs": [tensor(name="w")]}, b""),
    "name twice": ({"inputs": [tensor(), tensor()]}, b""),
    "no name": ({"inputs": [tensor(name=None)]}, b""),
    "name is a number": ({"inputs": [tensor(name=3)]}, b""),
    "other datatype": ({"inputs": [tensor(datatype="FP64")]}, b""),
    "bytes": ({"inputs": [tensor(datatype="BYTES", data=["a"] * 6)]}, b""),
    "unknown datatype": ({"inputs": [tensor(datatype="float")]}, b""),
    "no datatype": ({"inputs": [tensor(datatype=None)]}, b""),
    "shape of another size": ({"inputs": [tensor(shape=[1, 3, 2])]}, b""),
    "shape too short": ({"inputs": [tensor(shape=[6])]}, b""),
    "empty shape": ({"inputs": [tensor(shape=[])]}, b""),
    "very long shape": ({"inputs": [tensor(shape=[1] * 1000)]}, b""),
    "no shape": ({"inputs": [tensor(shape=None)]}, b""),
    "negative row count": ({"inputs": [tensor(shape=[-1, 2, 3])]}, b""),
    "two negatives": ({"inputs": [tensor(shape=[1, -2, -3])]}, b""),
    "no rows": ({"inputs": [tensor(shape=[0, 2, 3], data=[])]}, b""),
    "fractional shape": ({"inputs": [tensor(shape=[1.0, 2, 3])]}, b""),
    "text in shape": ({"inputs": [tensor(shape=["1", 2, 3])]}, b""),
    "boolean in shape": ({"inputs": [tensor(shape=[True, 2, 3])]}, b""),
    "huge shape with little data": ({"inputs": [tensor(shape=[2**40, 2, 3])]}, b""),
    "shape beyond 64 bits": ({"inputs": [tensor(shape=[2**70, 2, 3])]}, b""),
    "more rows than are taken": ({"inputs": [tensor(shape=[5, 2, 3], data=VALUES * 5)]}, b""),
    "too few numbers": ({"inputs": [tensor(data=VALUES[:-1])]}, b""),
    "too many numbers": ({"inputs": [tensor(data=[*VALUES, 1])]}, b""),
    "nested in another shape": ({"inputs": [tensor(data=EXPECTED.reshape(1, 3, 2).tolist())]}, b""),
    "ragged": ({"inputs": [tensor(data=[[[1, 2, 3], [4, 5]]])]}, b""),
    "text": ({"inputs": [tensor(data=["1"] * 6)]}, b""),
    "text among numbers": ({"inputs": [tensor(data=[1, 2, 3, 4, 5, "6"])]}, b""),
    "null among numbers": ({"inputs": [tensor(data=[1, 2, 3, 4, 5, None])]}, b""),
    "booleans": ({"inputs": [tensor(data=[True] * 6)]}, b""),
    "objects": ({"inputs": [tensor(data=[{}] * 6)]}, b""),
    "one object": ({"inputs": [tensor(data={"a": 1})]}, b""),
    "one number": ({"inputs": [tensor(data=1)]}, b""),
    "number beyond float32": ({"inputs": [tensor(data=[1e39, 0, 0, 0, 0, 0])]}, b""),
    "neither data nor size": ({"inputs": [tensor(data=None)]}, b""),
    "data and size": ({"inputs": [tensor(parameters={"binary_data_size": 24})]}, EXPECTED.tobytes()),
    "size without bytes": ({"inputs": [binary()]}, b""),
    "too few bytes": ({"inputs": [binary()]}, EXPECTED.tobytes()[:-1]),
    "too many bytes": ({"inputs": [binary()]}, EXPECTED.tobytes() + b"\0"),
    "bytes behind a JSON tensor": ({"inputs": [tensor()]}, b"\0" * 24),
    "size of another shape": ({"inputs": [binary(20)]}, EXPECTED.tobytes()[:20]),
    "negative size": ({"inputs": [binary(-24)]}, EXPECTED.tobytes()),
    "size is text": ({"inputs": [tensor(data=None, parameters={"binary_data_size": "24"})]}, EXPECTED.tobytes()),
    "NaN in bytes": ({"inputs": [binary()]}, np.full(6, np.nan, np.float32).tobytes()),
    "infinity in bytes": ({"inputs": [binary()]}, np.full(6, -np.inf, np.float32).tobytes()),
    "shared memory": ({"inputs": [tensor(data=None, parameters={"shared_memory_region": "r"})]}, b""),
    "unknown output": ({"inputs": [tensor()], "outputs": [{"name": "w"}]}, b""),
    "output twice": ({"inputs": [tensor()], "outputs": [{"name": "y"}, {"name": "y"}]}, b""),
    "output without a name": ({"inputs": [tensor()], "outputs": [{}]}, b""),
    "top classes": ({"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}, b""),
    "output in shared memory": (
        {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]},
        b"",
    ),
    "id is a number": ({"id": 7, "inputs": [tensor()]}, b""),
    "endless id": ({"id": "i" * 257, "inputs": [tensor()]}, b""),
    "negative timeout": ({"inputs": [tensor()], "parameters": {"timeout": -1}}, b""),
    "parameters of another kind": ({"inputs": [tensor()], "parameters": [1]}, b""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_requests_are_refused_with_a_reason(name: str) -> None:
    document, tail = BROKEN[name]
    with pytest.raises(InvalidRequest) as refusal:
        parse(document, tail)
    assert len(refusal.value.detail) > 10


@pytest.mark.parametrize("length", ["-1", "+5", "abc", "", " 5", "1e3", "0x10", "999999999", "9" * 40, "5.0"])
def test_header_length_must_lie_within_the_body(length: str) -> None:
    with pytest.raises(InvalidRequest, match=HEADER_LENGTH):
        parse({"inputs": [tensor()]}, length=length)


def test_header_length_that_cuts_the_json() -> None:
    with pytest.raises(InvalidRequest, match="not JSON"):
        parse({"inputs": [binary()]}, EXPECTED.tobytes(), length="10")


def test_fault_names_its_place() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse({"inputs": [tensor(shape=[1, "2", 3])]})
    assert refusal.value.errors[0].pointer == "#/inputs/0/shape/1"
    assert "#/inputs/0/shape/1" in refusal.value.detail


@given(body=st.binary(max_size=200), length=st.none() | st.text(max_size=6) | st.integers(0, 250).map(str))
def test_no_bytes_at_all_break_the_parser(body: bytes, length: str | None) -> None:
    with pytest.raises(RequestError):
        parse_request(body, length, [INPUT], OUTPUTS, max_rows=MAX_ROWS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    member=st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    value=JSON,
    top=st.sampled_from(["inputs", "outputs", "parameters", "id", None]),
)
def test_no_json_in_any_place_breaks_the_parser(member: str, value: Any, top: str | None) -> None:
    document = {"inputs": [{**tensor(), member: value}]}
    if top is not None:
        document[top] = value
    with suppress(RequestError):
        assert parse(document).inputs["x"].shape[1:] == (2, 3)


@pytest.mark.parametrize("name", sorted(DATATYPES))
def test_every_datatype_by_json_and_by_bytes(name: str) -> None:
    spec = TensorSpec("x", np.dtype(name), (None, 2))
    values = np.array([[1, 0], [0, 1]]).astype(name)
    for document, tail in [
        (tensor(shape=[2, 2], datatype=DATATYPES[name], data=values.tolist()), b""),
        (binary(values.nbytes, shape=[2, 2], datatype=DATATYPES[name]), values.tobytes()),
    ]:
        received = parse({"inputs": [document]}, tail, spec=spec).inputs["x"]
        assert received.dtype == values.dtype
        np.testing.assert_array_equal(received, values)


@pytest.mark.parametrize(("name", "value"), [("uint8", 256), ("uint8", -1), ("int8", 128), ("int32", 2**31)])
def test_integers_out_of_range_do_not_wrap_around(name: str, value: int) -> None:
    spec = TensorSpec("x", np.dtype(name), (None, 1))
    with pytest.raises(InvalidRequest, match="exceed the range"):
        parse({"inputs": [tensor(shape=[1, 1], datatype=DATATYPES[name], data=[value])]}, spec=spec)


def test_fractions_are_no_integers() -> None:
    spec = TensorSpec("x", np.dtype(np.int32), (None, 1))
    with pytest.raises(InvalidRequest, match="numbers that fit INT32"):
        parse({"inputs": [tensor(shape=[1, 1], datatype="INT32", data=[0.5])]}, spec=spec)


def test_answer_in_json_keeps_every_digit() -> None:
    values = np.random.default_rng(1).random((2, 3), np.float32)
    response = encode_response({"model_name": "m"}, [(RequestedOutput("y", False), values)])
    assert response.media_type == "application/json"
    document = json.loads(response.body)
    assert document["outputs"][0] | {"data": None} == {"name": "y", "datatype": "FP32", "shape": [2, 3], "data": None}
    np.testing.assert_array_equal(np.array(document["outputs"][0]["data"], np.float32).reshape(2, 3), values)


def test_answer_with_json_and_binary_outputs() -> None:
    first, second = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7.0, 8.0], np.float32)
    transposed = first.T
    response = encode_response(
        {"model_name": "m"},
        [
            (RequestedOutput("a", True), transposed),
            (RequestedOutput("b", False), second),
            (RequestedOutput("c", True), second),
        ],
    )
    length = int(response.headers[HEADER_LENGTH])
    document = json.loads(response.body[:length])
    assert [output["name"] for output in document["outputs"]] == ["a", "b", "c"]
    assert [output.get("parameters") for output in document["outputs"]] == [
        {"binary_data_size": 24},
        None,
        {"binary_data_size": 8},
    ]
    tail = response.body[length:]
    np.testing.assert_array_equal(np.frombuffer(tail[:24], "<f4").reshape(3, 2), transposed)
    np.testing.assert_array_equal(np.frombuffer(tail[24:], "<f4"), second)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("", bytes), ("identity", bytes)]
)
def test_encodings(encoding: str, compress: Any) -> None:
    assert inflate(compress(b"tensor" * 100), encoding, 600) == b"tensor" * 100


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bombs_are_stopped_at_the_limit(encoding: str, compress: Any) -> None:
    with pytest.raises(DecompressionBomb, match="beyond 1000 bytes"):
        inflate(compress(bytes(5_000_000)), encoding, 1000)
    with pytest.raises(DecompressionBomb):
        inflate(compress(bytes(1001)), encoding, 1000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: data + b"x", lambda data: b"\0" + data])
def test_broken_compression(encoding: str, spoil: Any) -> None:
    data = gzip.compress(b"abc") if encoding == "gzip" else zlib.compress(b"abc")
    with pytest.raises(InvalidRequest):
        inflate(spoil(data), encoding, 1000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
def test_other_encodings(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        inflate(b"", encoding, 1000)
