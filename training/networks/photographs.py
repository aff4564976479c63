"""A ResNet50 that learnt from photographs as the start of the classifier.

No full ResNet50 under a licence that Falx may pass on was to be had, but one of half its channels behind the first
convolution was: the network of open_nsfw (Yahoo, 2016, BSD-2-Clause), trained on ImageNet and then to flag unsafe
pictures. Its last layer is left out; what remains is edges, textures and shapes. See docs/adr/0016.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from training.networks.pooled import DEVIATION, MEAN
from training.networks.widen import widen

# What its authors subtract from blue, green and red, 0 to 255.
_CHANNEL_MEANS: Final = (104.0, 117.0, 123.0)
# Names of its convolutions' outputs, behind the folded normalisation, and of ours in a block.
_OUTPUT: Final = re.compile(r"bn_stage(\d)_block(\d+)_(proj_shortcut|branch2[abc])/")
_IN_BLOCK: Final = {"proj_shortcut": "downsample.0", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}


def photograph_weights(path: Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights and biases of all convolutions in the graph at ``path``, by the names and with the shapes of ``like``.

    ``like`` are those of a ``ResNetClassifier`` with 64 channels in its first convolution. Each bias stands for the
    normalisation that is folded into the convolution. Raises ValueError for a graph of another network.
    """
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found: dict[str, Tensor] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            weight, bias = (torch.from_numpy(constants[name].copy()).float() for name in node.input[1:])
            name = _name(node.output[0])
            if name == "backbone.conv1":
                weight, bias = _for_grey(weight, bias)
            shape = like[f"{name}.weight"].shape
            found[f"{name}.weight"] = widen(f"{name}.weight", weight, shape)
            found[f"{name}.bias"] = widen(f"{name}.bias", bias, shape[:1])
    if len(found) != 2 * 53:
        raise ValueError(f"{path} has {len(found) // 2} convolutions, a ResNet50 has 53")
    return found


def _name(output: str) -> str:
    if output.startswith("bn_1/"):
        return "backbone.conv1"
    match = _OUTPUT.match(output)
    if match is None:
        raise ValueError(f"{output}: not a layer of the thin ResNet50 of open_nsfw")
    stage, block, place = match.groups()
    return f"backbone.layer{int(stage) + 1}.{block}.{_IN_BLOCK[place]}"


def _for_grey(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The first convolution (O, 3, 7, 7) of photographs as one of a normalised grey slice (O, 1, 7, 7)."""
    means = torch.tensor(_CHANNEL_MEANS)
    # 255 (DEVIATION z + MEAN) - mean, with z the slice as ``pyramid`` normalises it.
    offsets = (255 * MEAN - means).view(1, 3, 1, 1)
    return 255 * DEVIATION * weight.sum(1, keepdim=True), bias + (weight * offsets).sum((1, 2, 3))
