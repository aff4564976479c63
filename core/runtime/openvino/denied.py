"""Nodes that the OpenVINO plug-in answers wrongly without an error, or claims and then fails on.

Found by comparing small graphs with the CPU provider, operator by operator (onnxruntime-ep-openvino 1.8.1). A graph
that holds one of them stays on the CPU provider as a whole: where the shape of a tensor would decide, it is denied as
well. That costs speed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from core.runtime.openvino.graph import STANDARD, Graph, Node

LARGEST_INTEGER: Final = 1 << 24
"""Integers beyond are rounded: the plug-in compares them as float32."""

Rule = Callable[[Node, Graph], str]
"""What is wrong with a node, or nothing."""


def find_denied(graph: Graph) -> tuple[str, ...]:
    """What keeps ``graph`` from the plug-in, each thing once, sorted; empty where it may be tried."""
    faults = {fault for node in graph.nodes if (fault := _fault(node, graph))}
    if graph.functions:
        faults.add("functions of its own")
    return tuple(sorted(faults))


def _fault(node: Node, graph: Graph) -> str:
    if node.domain not in STANDARD:
        return f"operators of {node.domain}"
    fault = _RULES[node.op](node, graph) if node.op in _RULES else ""
    if fault:
        return f"{node.op} {fault}"
    # The ends of slices are written as the largest integer there is, and understood.
    numbers = node.inputs[:1] if node.op == "Slice" else node.inputs
    if any(name in graph.constants and graph.constants[name].largest > LARGEST_INTEGER for name in numbers):
        return "integers above 2^24"
    return ""


def _axes_attribute(node: Node, _graph: Graph) -> str:
    """It reduces over everything, the batch included."""
    return "with axes as an attribute" if "axes" in node.attributes else ""


def _log_sum(node: Node, graph: Graph) -> str:
    """Without axes and with noop_with_empty_axes it takes no logarithm."""
    return _axes_attribute(node, graph) or (
        "that may do nothing" if node.attributes.get("noop_with_empty_axes") else ""
    )


def _conv_transpose(node: Node, _graph: Graph) -> str:
    """One voxel off, or one too many."""
    if "output_shape" in node.attributes:
        return "with output_shape"
    padding = str(node.attributes.get("auto_pad", ""))
    return f"with auto_pad {padding}" if padding.startswith("SAME") else ""


def _resize(node: Node, _graph: Graph) -> str:
    given = node.attributes
    mode = given.get("coordinate_transformation_mode")
    if mode in ("half_pixel_symmetric", "tf_crop_and_resize"):
        return f"with {mode}"
    if given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return "with keep_aspect_ratio_policy"
    return next((f"with {name}" for name in ("antialias", "exclude_outside") if given.get(name)), "")


def _softmax(node: Node, graph: Graph) -> str:
    """Before set 13 it is over all axes from the given one on, in the plug-in over that one alone."""
    before = graph.opset < 13 and node.attributes.get("axis", 1) != -1
    return "of an operator set before 13" if before else ""


def _pool(node: Node, _graph: Graph) -> str:
    return next((f"with {name}" for name in ("ceil_mode", "storage_order") if node.attributes.get(name)), "")


def _grid_sample(_node: Node, graph: Graph) -> str:
    """Set 20 brought volumes, which it claims and cannot convert."""
    return "that may be of volumes" if graph.opset >= 20 else ""


def _pad(node: Node, _graph: Graph) -> str:
    return "that wraps" if node.attributes.get("mode") == "wrap" else ""


def _prelu(node: Node, graph: Graph) -> str:
    """One slope a channel by the plug-in, along the last axis by the standard."""
    slope = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return "" if slope is not None and len(slope.shape) != 1 else "with slopes along the last axis"


def _dft(node: Node, _graph: Graph) -> str:
    return "of one side" if node.attributes.get("onesided") else ""


def _top_k(_node: Node, _graph: Graph) -> str:
    return "whose ties come in another order"


_RULES: Final[Mapping[str, Rule]] = {
    "ReduceL1": _axes_attribute,
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": _axes_attribute,
    "ConvTranspose": _conv_transpose,
    "Resize": _resize,
    "Softmax": _softmax,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GridSample": _grid_sample,
    "Pad": _pad,
    "PRelu": _prelu,
    "DFT": _dft,
    "TopK": _top_k,
}
