"""Where the cells of a graph's class activation maps are centred in its input, read off the graph itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import numpy_helper

from core.contracts.manifest import MapGeometry
from core.contracts.tensors import CAM, IMAGE

_WINDOWS = ("Conv", "MaxPool", "AveragePool")


@dataclass(frozen=True)
class _Grid:
    """Centre of cell i along one side: first + i * step, in pixels of the input."""

    first: float = 0.0
    step: float = 1.0


def map_geometry(path: Path, source: str = IMAGE, target: str = CAM) -> MapGeometry:
    """Follow every window from ``source`` to ``target``.

    Cell i of a layer is centred on stride * i + (reach - 1) / 2 - pad of the layer before, where reach is the extent of
    its kernel.
    Where branches join, the first one counts: they see the same centre. Raises ValueError when no path leads there.
    """
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    grids = {source: _Grid()}
    for node in graph.node:
        inputs = [grids[name] for name in node.input if name in grids]
        if not inputs:
            continue
        grid = _after(node, inputs[0], constants)
        grids.update(dict.fromkeys(node.output, grid))
    if target not in grids:
        raise ValueError(f"{path} has no way from {source} to {target}")
    return MapGeometry(first=grids[target].first, step=grids[target].step)


def _after(node: onnx.NodeProto, grid: _Grid, constants: Mapping[str, onnx.TensorProto]) -> _Grid:
    if node.op_type == "Pad":
        pads = numpy_helper.to_array(constants[node.input[1]])
        return _Grid(grid.first - float(pads[len(pads) // 2 - 1]) * grid.step, grid.step)
    if node.op_type not in _WINDOWS:
        return grid
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernel = attributes.get("kernel_shape") or list(constants[node.input[1]].dims[2:])
    stride = attributes.get("strides", [1])[-1]
    reach = (kernel[-1] - 1) * attributes.get("dilations", [1])[-1] + 1
    pads = attributes.get("pads", [0, 0, 0, 0])
    before = pads[len(pads) // 2 - 1]
    return _Grid(grid.first + ((reach - 1) / 2 - before) * grid.step, grid.step * stride)
