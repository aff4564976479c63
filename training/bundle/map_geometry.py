"""Where the cells of a graph's class activation maps are centred in its input, read off the graph itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import numpy_helper

from core.contracts.manifest import MapGeometry
from core.contracts.tensors import CAM, IMAGE

_WINDOWS = ("Conv", "MaxPool", "AveragePool")


def map_geometry(path: Path, source: str = IMAGE, target: str = CAM) -> MapGeometry:
    """Follow every window from ``source`` to ``target``.

    Cell i of a layer is centred on stride * i + (reach - 1) / 2 - pad of the layer before, where reach is the extent of
    its kernel.
    Where branches join, the first one counts: they see the same centre. Raises ValueError when no path leads there.
    """
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    grids = {source: MapGeometry(first=0.0, step=1.0)}
    for node in graph.node:
        before = next((grids[name] for name in node.input if name in grids), None)
        if before is not None:
            grids |= dict.fromkeys(node.output, _after(node, before, constants))
    if target not in grids:
        raise ValueError(f"{path} has no way from {source} to {target}")
    return grids[target]


def _after(node: onnx.NodeProto, grid: MapGeometry, constants: Mapping[str, onnx.TensorProto]) -> MapGeometry:
    if node.op_type == "Pad":
        pads = numpy_helper.to_array(constants[node.input[1]])
        return MapGeometry(first=grid.first - float(pads[len(pads) // 2 - 1]) * grid.step, step=grid.step)
    if node.op_type not in _WINDOWS:
        return grid
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernel = attributes.get("kernel_shape") or list(constants[node.input[1]].dims[2:])
    stride = attributes.get("strides", [1])[-1]
    reach = (kernel[-1] - 1) * attributes.get("dilations", [1])[-1] + 1
    pads = attributes.get("pads", [0, 0, 0, 0])
    before = pads[len(pads) // 2 - 1]
    return MapGeometry(first=grid.first + ((reach - 1) / 2 - before) * grid.step, step=grid.step * stride)
