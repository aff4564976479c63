"""Which graphs are kept from the OpenVINO plug-in, on real ONNX files; and whether it is wrong of just those."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.errors import BundleCorrupt
from core.runtime.openvino.agreement import find_difference
from core.runtime.openvino.denied import find_denied
from core.runtime.openvino.graph import read_graph
from core.runtime.session import OrtSession
from tests.fixtures.openvino import needs_plug_in

MODELS = Path(__file__).parents[4] / "models"
Array = npt.NDArray[Any]
HUGE = (1 << 24) + 1


@dataclass(frozen=True)
class Case:
    """A graph of one node, ``constants`` its further inputs, and what is said of it; nothing where it may be tried."""

    op: str
    fault: str = ""
    opset: int = 18
    shape: tuple[int, ...] = (4, 7, 7)
    constants: tuple[Array, ...] = ()
    dtype: type[np.generic] = np.float32
    outputs: int = 1
    given: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.op}-{self.opset}: {self.fault or self.given}"

    def write(self, path: Path) -> Path:
        tensors = [numpy_helper.from_array(value, f"c{place}") for place, value in enumerate(self.constants)]
        names = [f"y{place}" for place in range(self.outputs)]
        node = helper.make_node(self.op, ["x", *(tensor.name for tensor in tensors)], names, **self.given)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        inputs = [helper.make_tensor_value_info("x", kind, ["n", *self.shape])]
        graph = helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=name) for name in names], tensors)
        model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", self.opset)])
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return path

    def slices(self) -> list[Array]:
        values: Array = np.random.default_rng(0).normal(0, 1, (3, *self.shape))
        if np.issubdtype(self.dtype, np.integer):
            values = HUGE + np.arange(values.size).reshape(values.shape) % 3 - 1
        # Whole numbers, so that some are the same.
        return list(values.round().astype(self.dtype))


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*shape: int) -> Array:
    return np.random.default_rng(1).normal(0, 0.3, shape).astype(np.float32)


NONE = np.array([], np.float32)
TWICE = (NONE, np.array([1, 1, 2, 2], np.float32))
HALF = (NONE, np.array([1, 1, 0.5, 0.5], np.float32))
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}

WRONG = [
    Case("ReduceL1", "ReduceL1 with axes as an attribute", opset=13, given={"axes": [1]}),
    Case("ReduceLogSumExp", "ReduceLogSumExp with axes as an attribute", opset=17, given={"axes": [1]}),
    Case("ReduceLogSum", "ReduceLogSum with axes as an attribute", opset=13, given={"axes": [1]}),
    Case("ReduceLogSum", "ReduceLogSum that may do nothing", given={"noop_with_empty_axes": 1}),
    Case(
        "ConvTranspose",
        "ConvTranspose with output_shape",
        constants=(floats(4, 2, 3, 3),),
        given={"output_shape": [14, 14], "strides": [2, 2]},
    ),
    Case(
        "ConvTranspose",
        "ConvTranspose with auto_pad SAME_UPPER",
        constants=(floats(4, 2, 3, 3),),
        given={"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ),
    Case("Resize", "Resize with antialias", constants=HALF, given={"antialias": 1, "mode": "linear"}),
    Case("Resize", "Resize with exclude_outside", constants=TWICE, given={"exclude_outside": 1, "mode": "cubic"}),
    Case(
        "Resize",
        "Resize with keep_aspect_ratio_policy",
        constants=(NONE, NONE, ints(7, 21)),
        given={"keep_aspect_ratio_policy": "not_larger", "axes": [2, 3]},
    ),
    Case(
        "Resize",
        "Resize with half_pixel_symmetric",
        opset=19,
        constants=HALF,
        given={"coordinate_transformation_mode": "half_pixel_symmetric", "mode": "linear"},
    ),
    Case("Softmax", "Softmax of an operator set before 13", opset=12, given={"axis": 1}),
    Case("MaxPool", "MaxPool with ceil_mode", shape=(4, 6, 6), given={**POOL, "strides": [3, 3], "ceil_mode": 1}),
    Case("MaxPool", "MaxPool with storage_order", outputs=2, given={**POOL, "storage_order": 1}),
    Case(
        "AveragePool",
        "AveragePool with ceil_mode",
        shape=(4, 6, 6),
        given={
            "kernel_shape": [3, 3],
            "strides": [2, 2],
            "pads": [1, 1, 1, 1],
            "ceil_mode": 1,
            "count_include_pad": 1,
        },
    ),
    Case(
        "GridSample",
        "GridSample that may be of volumes",
        opset=20,
        shape=(4, 5, 5, 5),
        constants=(floats(1, 5, 5, 5, 3),),
        given={"mode": "linear"},
    ),
    Case("DFT", "DFT of one side", opset=17, shape=(4, 7, 1), given={"onesided": 1, "axis": 2}),
    Case("Pad", "Pad that wraps", opset=19, constants=(ints(0, 0, 1, 1, 0, 0, 1, 1),), given={"mode": "wrap"}),
    Case("PRelu", "PRelu with slopes along the last axis", shape=(7, 7, 7), constants=(floats(7),)),
    Case("TopK", "TopK whose ties come in another order", outputs=2, constants=(ints(2),), given={"axis": -1}),
    Case("Add", "integers above 2^24", dtype=np.int64, constants=(ints(1 << 40),)),
    Case("Equal", "integers above 2^24", dtype=np.int64, constants=(ints(HUGE),)),
]
RIGHT = [
    Case("ReduceL1", constants=(ints(1),)),
    Case("ReduceLogSumExp", constants=(ints(1),)),
    Case("ReduceMean", opset=13, given={"axes": [1]}),
    Case("ConvTranspose", constants=(floats(4, 2, 2, 2),), given={"strides": [2, 2]}),
    Case("Resize", constants=TWICE, given={"mode": "linear", "antialias": 0, "keep_aspect_ratio_policy": "stretch"}),
    Case("Softmax", opset=12, given={"axis": -1}),
    Case("Softmax", opset=13, given={"axis": 1}),
    Case("LogSoftmax", opset=12, given={"axis": 1}),
    Case("MaxPool", given={**POOL, "ceil_mode": 0}),
    Case("LpPool", given={**POOL, "ceil_mode": 1}),
    Case("DFT", opset=17, shape=(4, 7, 1), given={"axis": 2}),
    Case("Pad", constants=(ints(0, 0, 1, 1, 0, 0, 1, 1),), given={"mode": "reflect"}),
    Case("PRelu", constants=(floats(4, 1, 1),)),
    Case("Add", dtype=np.int64, constants=(ints(1 << 24),)),
    Case("Slice", constants=(ints(1), ints(np.iinfo(np.int64).max), ints(1))),
]


@pytest.mark.parametrize("case", [*WRONG, *RIGHT], ids=str)
def test_what_the_plug_in_gets_wrong_is_named(tmp_path: Path, case: Case) -> None:
    found = find_denied(read_graph(case.write(tmp_path / "one.onnx")))
    assert found == ((case.fault,) if case.fault else ())


@needs_plug_in
@pytest.mark.parametrize("case", [*WRONG, *RIGHT], ids=str)
def test_the_plug_in_is_wrong_of_those_alone(tmp_path: Path, case: Case) -> None:
    """Shapes and values at batch 1, 3 and 1. Once it is right of a node, the rule about that can go."""
    path = case.write(tmp_path / "one.onnx")
    reference = OrtSession(path, force_cpu=True)
    try:
        session = OrtSession(path, hint="f32")
    except BundleCorrupt:
        wrong = True
    else:
        wrong = bool(find_difference(session, reference, case.slices(), exact=True))
    assert wrong is bool(case.fault)


def test_operators_of_elsewhere_and_functions_are_named(tmp_path: Path) -> None:
    node = helper.make_node("Fast", ["x"], ["y"], domain="com.example")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "one", ends[:1], ends[1:]))
    model.functions.add(name="Fast", domain="com.example")
    onnx.save(model, tmp_path / "m.onnx")
    assert find_denied(read_graph(tmp_path / "m.onnx")) == ("functions of its own", "operators of com.example")


def test_graphs_inside_graphs_are_read(tmp_path: Path) -> None:
    inner = onnx.load(next(case for case in WRONG if case.op == "Pad").write(tmp_path / "one.onnx")).graph
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    onnx.save(helper.make_model(helper.make_graph([node], "outer", ends[:1], ends[1:])), tmp_path / "two.onnx")
    assert find_denied(read_graph(tmp_path / "two.onnx")) == ("Pad that wraps",)


@pytest.mark.parametrize(
    ("name", "given"), [("value_int", HUGE), ("value_ints", [1, -HUGE]), ("value", numpy_helper.from_array(ints(HUGE)))]
)
def test_constants_are_read_wherever_they_stand(tmp_path: Path, name: str, given: Any) -> None:
    nodes = [helper.make_node("Constant", [], ["c"], **{name: given}), helper.make_node("Add", ["x", "c"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in "xy"]
    onnx.save(helper.make_model(helper.make_graph(nodes, "one", ends[:1], ends[1:])), tmp_path / "m.onnx")
    assert find_denied(read_graph(tmp_path / "m.onnx")) == ("integers above 2^24",)


@pytest.mark.parametrize("data", [b"\x0f", b"\x3a\x7fshort", b"\x80" * 12])
def test_what_is_no_graph_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ValueError, match="no ONNX file"):
        read_graph(tmp_path / "m.onnx")


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/*/*.onnx")), ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_shipped_graphs_may_be_tried(path: Path) -> None:
    graph = read_graph(path)
    # Those of branches besides.
    assert len(graph.nodes) >= len(onnx.load(path).graph.node)
    assert (graph.opset, find_denied(graph)) == (18, ())
