"""Tensors on the wire of the Open Inference Protocol V2: JSON, and Triton's binary tensor extension.

A request is one JSON object; with the extension raw little-endian tensors follow it, in the order of the inputs,
and ``Inference-Header-Content-Length`` tells where the JSON ends. Everything a caller can get wrong is an
InvalidRequest. Input must be finite: NaN and infinities are refused, as no pixel has such a value and one of them
would silently spoil the whole answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from core.errors import FieldError, InvalidRequest
from core.runtime.session import TensorSpec

Array = npt.NDArray[Any]

HEADER_LENGTH = "Inference-Header-Content-Length"

DATATYPES: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""numpy's names to the protocol's."""

_DIGITS = re.compile(r"[0-9]{1,12}")


class _Wire(BaseModel):
    # Other members are allowed: the protocol lets clients send extensions that a server does not know.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _InputParameters(_Wire):
    binary_data_size: StrictInt | None = Field(default=None, ge=0)
    shared_memory_region: Any = None


class _Input(_Wire):
    name: str
    shape: tuple[StrictInt, ...] = Field(max_length=16)
    datatype: str
    parameters: _InputParameters = _InputParameters()
    data: Any = None


class _OutputParameters(_Wire):
    binary_data: bool | None = None
    classification: Any = None
    shared_memory_region: Any = None


class _Output(_Wire):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class _RequestParameters(_Wire):
    binary_data_output: bool = False
    timeout: StrictInt | None = Field(default=None, ge=0)


class _Request(_Wire):
    id: str | None = Field(default=None, max_length=256)
    parameters: _RequestParameters = _RequestParameters()
    inputs: tuple[_Input, ...] = Field(min_length=1, max_length=64)
    outputs: tuple[_Output, ...] = Field(default=(), max_length=64)


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output to return; ``binary``: as raw bytes behind the JSON."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A checked request: ``inputs`` fit the model, ``timeout_s`` is the caller's own limit in seconds."""

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[RequestedOutput, ...]
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class InferResponse:
    """Body and headers of an answer."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


def datatype(spec: TensorSpec) -> str:
    """The protocol's name of the dtype, e.g. FP32."""
    return DATATYPES[spec.dtype.name]


def parse_request(
    body: bytes,
    header_length: str | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    max_rows: int,
) -> InferRequest:
    """Check ``body`` against the tensors of a model. ``max_rows`` bounds the batch axis. Raises InvalidRequest."""
    head, tail = _split(body, header_length)
    request = _read_head(head)
    return InferRequest(
        id=request.id,
        inputs=_read_inputs(request.inputs, tail, inputs, max_rows),
        outputs=_read_outputs(request, outputs),
        timeout_s=None if not request.parameters.timeout else request.parameters.timeout / 1e6,
    )


def encode_response(head: dict[str, object], outputs: Sequence[tuple[RequestedOutput, Array]]) -> InferResponse:
    """``head`` (model_name, model_version, id) with the tensors: JSON ones inline, binary ones behind."""
    described: list[dict[str, object]] = []
    raw: list[bytes] = []
    for wanted, array in outputs:
        values = np.ascontiguousarray(array)
        tensor: dict[str, object] = {
            "name": wanted.name,
            "datatype": DATATYPES[values.dtype.name],
            "shape": list(array.shape),
        }
        if wanted.binary:
            data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
            tensor["parameters"] = {"binary_data_size": len(data)}
            raw.append(data)
        else:
            tensor["data"] = values.reshape(-1)
        described.append(tensor)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raw:
        return InferResponse(text)
    return InferResponse(b"".join([text, *raw]), {HEADER_LENGTH: str(len(text))}, "application/octet-stream")


def _split(body: bytes, header_length: str | None) -> tuple[memoryview, memoryview]:
    view = memoryview(body)
    if header_length is None:
        return view, view[len(view) :]
    if not _DIGITS.fullmatch(header_length) or int(header_length) > len(body):
        detail = f"{HEADER_LENGTH} must be a number of bytes within the body ({len(body)} bytes)."
        raise InvalidRequest(detail, errors=[FieldError(f"header/{HEADER_LENGTH}", detail)])
    return view[: int(header_length)], view[int(header_length) :]


def _read_head(head: memoryview) -> _Request:
    try:
        return _Request.model_validate(orjson.loads(head))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from error
    except ValidationError as error:
        faults = [FieldError("#/" + "/".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()[:8]]
        first = faults[0]
        raise InvalidRequest(f"Not an inference request: {first.pointer}: {first.detail}.", errors=faults) from error


def _read_inputs(
    sent: Sequence[_Input], tail: memoryview, specs: Sequence[TensorSpec], max_rows: int
) -> dict[str, Array]:
    by_name = {spec.name: spec for spec in specs}
    arrays: dict[str, Array] = {}
    offset = 0
    for tensor in sent:
        spec = by_name.get(tensor.name)
        if spec is None or tensor.name in arrays:
            raise _fault("inputs", f"Inputs must be, each once: {', '.join(by_name)}.")
        _check_head(tensor, spec, max_rows)
        size = tensor.parameters.binary_data_size
        if size is None:
            arrays[tensor.name] = _from_json(tensor, spec)
        else:
            arrays[tensor.name] = _from_bytes(tensor, spec, tail[offset : offset + size])
            offset += size
        _check_finite(tensor.name, arrays[tensor.name])
    missing = by_name.keys() - arrays.keys()
    if missing:
        raise _fault("inputs", f"Missing inputs: {', '.join(sorted(missing))}.")
    if offset != len(tail):
        raise InvalidRequest(f"The binary part has {len(tail)} bytes, the inputs describe {offset}.")
    return arrays


def _check_head(tensor: _Input, spec: TensorSpec, max_rows: int) -> None:
    place = f"inputs/{tensor.name}"
    if tensor.datatype != datatype(spec):
        raise _fault(place, f"Input {spec.name} must have datatype {datatype(spec)}.")
    if tensor.parameters.shared_memory_region is not None:
        raise _fault(place, "Shared memory is not offered; send the tensor in the body.")
    spec.check_shape(tensor.shape)
    if tensor.shape[0] > max_rows:
        raise _fault(place, f"Input {spec.name} has {tensor.shape[0]} rows, at most {max_rows} are taken at once.")
    if (tensor.data is None) == (tensor.parameters.binary_data_size is None):
        raise _fault(place, f"Input {spec.name} needs either data or the parameter binary_data_size.")


def _from_bytes(tensor: _Input, spec: TensorSpec, data: memoryview) -> Array:
    wanted = math.prod(tensor.shape) * spec.dtype.itemsize
    if tensor.parameters.binary_data_size != wanted or len(data) != wanted:
        raise _fault(
            f"inputs/{tensor.name}",
            f"Input {spec.name} of this shape takes {wanted} bytes, binary_data_size says "
            f"{tensor.parameters.binary_data_size}, the body holds {len(data)}.",
        )
    values = np.frombuffer(data, spec.dtype.newbyteorder("<")).reshape(tensor.shape)
    return values.astype(spec.dtype, copy=False)


def _from_json(tensor: _Input, spec: TensorSpec) -> Array:
    """Flat or nested numbers; strings, null and (for numbers) booleans are no numbers."""
    place = f"inputs/{tensor.name}/data"
    try:
        values = np.asarray(tensor.data)
    except ValueError as error:
        raise _fault(place, f"The data of {spec.name} are ragged lists.") from error
    if values.dtype.kind not in _kinds(spec.dtype):
        raise _fault(place, f"The data of {spec.name} must be numbers that fit {tensor.datatype}.")
    if values.shape not in (tensor.shape, (math.prod(tensor.shape),)):
        raise _fault(place, f"The data of {spec.name} hold {values.size} numbers in a shape that differs from its own.")
    if spec.dtype.kind in "iu" and not np.array_equal(values, values.astype(spec.dtype)):
        raise _fault(place, f"The data of {spec.name} exceed the range of {tensor.datatype}.")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        return values.astype(spec.dtype).reshape(tensor.shape)


def _kinds(dtype: np.dtype[Any]) -> str:
    return {"b": "b", "f": "fiu"}.get(dtype.kind, "iu")


def _check_finite(name: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _fault(f"inputs/{name}", f"Input {name} holds NaN or infinite values.")


def _read_outputs(request: _Request, specs: Sequence[TensorSpec]) -> tuple[RequestedOutput, ...]:
    binary = request.parameters.binary_data_output
    if not request.outputs:
        return tuple(RequestedOutput(spec.name, binary) for spec in specs)
    known = [spec.name for spec in specs]
    names = [output.name for output in request.outputs]
    if len(set(names)) != len(names) or not set(names) <= set(known):
        raise _fault("outputs", f"Outputs must be some of these, each once: {', '.join(known)}.")
    for output in request.outputs:
        if output.parameters.classification is not None or output.parameters.shared_memory_region is not None:
            raise _fault(f"outputs/{output.name}", "Neither classification nor shared memory is offered for outputs.")
    return tuple(
        RequestedOutput(output.name, binary if output.parameters.binary_data is None else output.parameters.binary_data)
        for output in request.outputs
    )


def _fault(place: str, detail: str) -> InvalidRequest:
    return InvalidRequest(detail, errors=[FieldError(f"#/{place}", detail)])
