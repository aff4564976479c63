"""What stands in an ONNX file, as far as the choice of a provider needs it: nodes, their attributes, whole numbers.

ONNX Runtime tells no attributes of a graph, and the ``onnx`` package is no part of a service. So the few messages of
onnx.proto that are needed are described here by the numbers of their fields, and protobuf reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

STANDARD: Final = ("", "ai.onnx")
"""Names of the domain of the standard's own operators."""

# By message its fields: number, name, and type; a star is for repeated, a capital for another message.
_MESSAGES: Final = {
    "Model": ((7, "graph", "Graph"), (8, "opset_import", "*OperatorSet"), (25, "functions", "*Function")),
    "OperatorSet": ((1, "domain", "string"), (2, "version", "int64")),
    "Function": ((1, "name", "string"),),
    "Graph": ((1, "node", "*Node"), (5, "initializer", "*Tensor")),
    "Node": (
        *((1, "input", "*string"), (2, "output", "*string"), (4, "op_type", "string")),
        *((5, "attribute", "*Attribute"), (7, "domain", "string")),
    ),
    "Attribute": (
        *((1, "name", "string"), (3, "i", "int64"), (4, "s", "bytes"), (5, "t", "Tensor"), (6, "g", "Graph")),
        *((8, "ints", "*int64"), (11, "graphs", "*Graph")),
    ),
    "Tensor": (
        *((1, "dims", "*int64"), (2, "data_type", "int32"), (5, "int32_data", "*int32"), (7, "int64_data", "*int64")),
        *((8, "name", "string"), (9, "raw_data", "bytes"), (11, "uint64_data", "*uint64")),
    ),
}
_INTEGERS: Final[dict[int, np.dtype[Any]]] = {
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    12: np.dtype("<u4"),
    13: np.dtype("<u8"),
}


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that the file holds: its shape, and the largest magnitude in it where it holds 32 or 64 bit integers."""

    shape: tuple[int, ...]
    largest: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. Attributes are whole numbers or text; all others, lists among them, stand as None."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    attributes: dict[str, int | str | None]


@dataclass(slots=True)
class Graph:
    """Nodes and constants (by name) of the graph and of all graphs inside it.

    ``opset`` is the version of the standard's own operators, ``functions`` whether the file brings any of its own.
    """

    opset: int
    functions: bool
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)


def read_graph(path: Path) -> Graph:
    """The graph in ``path``. Raises ValueError for what is no ONNX file."""
    model = _model_class()()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"no ONNX file: {error}") from error
    opset = max((each.version for each in model.opset_import if each.domain in STANDARD), default=0)
    graph = Graph(opset, bool(model.functions))
    _read(model.graph, graph)
    return graph


def _read(found: Any, graph: Graph) -> None:
    """Add what ``found`` holds, and what the graphs in its nodes hold."""
    graph.constants.update((tensor.name, _constant(tensor)) for tensor in found.initializer)
    for node in found.node:
        attributes = {given.name: _value(given) for given in node.attribute}
        graph.nodes.append(Node(node.op_type, node.domain, tuple(node.input), attributes))
        for given in node.attribute:
            if node.op_type == "Constant":
                graph.constants[node.output[0]] = _constant_of(given)
            for inner in (given.g, *given.graphs):
                _read(inner, graph)


def _value(given: Any) -> int | str | None:
    if given.HasField("i"):
        return int(given.i)
    return bytes(given.s).decode("utf-8", "replace") if given.HasField("s") else None


def _constant_of(given: Any) -> Constant:
    """Of the attribute of a Constant node."""
    return _constant(given.t) if given.HasField("t") else Constant((), _largest((given.i, *given.ints)))


def _constant(tensor: Any) -> Constant:
    shape = tuple(tensor.dims)
    if tensor.data_type not in _INTEGERS:
        return Constant(shape)
    packed = np.frombuffer(tensor.raw_data, _INTEGERS[tensor.data_type]).tolist()
    return Constant(shape, _largest((*packed, *tensor.int32_data, *tensor.int64_data, *tensor.uint64_data)))


def _largest(numbers: Iterable[int]) -> int:
    return max(map(abs, numbers), default=0)


@cache
def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="falx/onnx.proto", package="falx.onnx")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, name, kind in fields:
            one = described.field.add(name=name, number=number)
            one.label = one.LABEL_REPEATED if kind.startswith("*") else one.LABEL_OPTIONAL
            single = kind.lstrip("*")
            if single in _MESSAGES:
                one.type, one.type_name = one.TYPE_MESSAGE, f".falx.onnx.{single}"
            else:
                one.type = getattr(one, f"TYPE_{single.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("falx.onnx.Model"))
