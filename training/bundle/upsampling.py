"""Up-convolutions of an ONNX graph as convolutions of single pixels, which int8 has kernels for.

A transposed convolution whose kernel is its stride gives each pixel a block of its own: a 1x1 convolution to as many
channels as a block has values, and then those channels moved into place. ONNX Runtime has no transposed convolution of
int8, so each would go to float and back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]


def shuffle_pixels(model: onnx.ModelProto) -> None:
    """Replace every such transposed convolution of slices, in place. Weights must be initialisers."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        weight = numpy_helper.to_array(weights[node.input[1]]) if _fills_blocks(node) else None
        if weight is None or weight.ndim != 4:
            nodes.append(node)
            continue
        old = [weights[name] for name in node.input[1:]]
        replaced, made = _as_convolution(node, weight, numpy_helper.to_array(old[1]))
        nodes += replaced
        for tensor in old:
            model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(made)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _fills_blocks(node: onnx.NodeProto) -> bool:
    """Whether the kernel of a transposed convolution with a bias is a square and its stride."""
    if node.op_type != "ConvTranspose" or len(node.input) != 3:
        return False
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernel, strides = given["kernel_shape"], given["strides"]
    plain = given.get("group", 1) == 1 and not any(given.get("pads", ())) and not any(given.get("output_padding", ()))
    return bool(kernel == strides and len(set(kernel)) == 1 and plain)


def _as_convolution(
    node: onnx.NodeProto, weight: Array, bias: Array
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    inputs, outputs, block, _ = weight.shape
    name = node.output[0]
    flat = weight.transpose(1, 2, 3, 0).reshape(outputs * block**2, inputs, 1, 1)
    made = [
        numpy_helper.from_array(np.ascontiguousarray(flat), f"{name}_flat"),
        numpy_helper.from_array(np.repeat(bias, block**2), f"{name}_flat_bias"),
    ]
    convolution = helper.make_node(
        "Conv", [node.input[0], made[0].name, made[1].name], [f"{name}_blocks"], f"{name}_conv", kernel_shape=[1, 1]
    )
    moved = helper.make_node("DepthToSpace", [f"{name}_blocks"], [name], f"{name}_shuffle", blocksize=block, mode="CRD")
    return [convolution, moved], made
