"""Up-convolutions as convolutions of single pixels: the same values, and nothing else is touched."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from training.bundle.onnx_files import (
    OnnxModel,
    export_graph,
    shuffle_pixels,
)


def written(layer: nn.Module, path: Path) -> Any:
    """The layer as a graph in ``path``; so few weights that all are stored as float32."""
    export_graph(layer, torch.rand(2, 3, 4, 5), path, "images", ("answer",))
    return onnx.load(path)


@pytest.mark.parametrize("block", [2, 3])
def test_blocks_come_out_as_before(tmp_path: Path, block: int) -> None:
    path = tmp_path / "up.onnx"
    model = written(nn.ConvTranspose2d(3, 5, block, stride=block), path)
    images = np.random.default_rng(0).random((3, 3, 4, 5), np.float32)
    before = OnnxModel(path).run(images)["answer"]
    shuffle_pixels(model)
    onnx.checker.check_model(model, full_check=True)
    assert Counter(node.op_type for node in model.graph.node) == {"Conv": 1, "DepthToSpace": 1}
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    onnx.save(model, path)
    np.testing.assert_allclose(OnnxModel(path).run(images)["answer"], before, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [nn.ConvTranspose2d(3, 5, 3, stride=2), nn.ConvTranspose2d(3, 5, 2, stride=2, bias=False), nn.Conv2d(3, 5, 2)],
)
def test_what_overlaps_or_has_no_bias_stays(tmp_path: Path, layer: nn.Module) -> None:
    model = written(layer, tmp_path / "layer.onnx")
    before = model.SerializeToString()
    shuffle_pixels(model)
    assert model.SerializeToString() == before
