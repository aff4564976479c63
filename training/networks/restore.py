"""A shipped bundle's weights as the start of a new training.

The graph in a bundle has its normalisation folded into the convolutions. Here it is taken apart again: what a
normalisation layer would have measured is measured anew on a few batches, and its scale and shift are set so that the
network computes what the graph does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from training.bundle.onnx_files import fold_normalisation
from training.networks.slices_in_volume import SlicesInVolume
from training.networks.stacked import unstacked

_PREFIX = "model."
_HALF = "_fp16"
# The only layer whose rows are classes.
_LAST = "backbone.fc."
# Where a network of volumes has that of its slices, and what is its own.
_SLICES = "slices."
_CONTEXT = "context."


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
