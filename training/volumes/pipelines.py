"""Patches of volumes as other pipelines and scanners leave them: other greys, thick slices, fields of view that end.

Some of it no file says of itself (docs/experiments/intensities.md), so that a network has to know it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from core.imaging.volume import Spacing
from training.config import VolumeAugmentation
from training.data.archives import FloatArray
from training.data.scans import QUANTILES

# Steps of a curve of greys.
STEPS: Final = 256
# Of thick slices, the share that are axial.
_AXIAL: Final = 0.7
_GREYS: Final = np.linspace(0, 1, STEPS, dtype=np.float32)


def random_curves(own: FloatArray, other: FloatArray, settings: VolumeAugmentation) -> FloatArray:
    """Curves (c, ``STEPS``) of a patch's greys by a random pipeline.

    ``own`` and ``other`` are the ``quantiles`` of its scan and of another one.
    """
    ways = [_random_way(settings)] * len(own)
    if np.random.random() < settings.mixed:  # noqa: NPY002  (the checkpoint holds the global state)
        ways = [_random_way(settings) for _ in own]
    return np.stack([_curve(way, mine, theirs, settings) for way, mine, theirs in zip(ways, own, other, strict=True)])


def _random_way(settings: VolumeAugmentation) -> str:
    shares = (settings.scaled, settings.clipped, settings.matched)
    chosen = int(np.searchsorted(np.cumsum(shares), np.random.random(), side="right"))  # noqa: NPY002
    return ("scaled", "clipped", "matched", "plain")[chosen]


def _curve(way: str, own: FloatArray, other: FloatArray, settings: VolumeAugmentation) -> FloatArray:
    if way == "scaled":
        low, further = np.random.uniform(-settings.ends, settings.ends, 2)  # noqa: NPY002
        high = 1 + further
    elif way == "clipped" and own.any():
        cut = np.random.uniform(0, settings.clip, 2)  # noqa: NPY002
        low, high = np.interp((cut[0], 1 - cut[1]), np.linspace(0, 1, QUANTILES), own)
    elif way == "matched" and own.any() and other.any():
        return np.interp(_GREYS, own, other).clip(0, 1).astype(np.float32)
    else:
        return _GREYS
    return ((_GREYS - low) / max(high - low, 1e-3)).clip(0, 1).astype(np.float32)


def thick_slices(images: Tensor, spacing_mm: Spacing, settings: VolumeAugmentation) -> Tensor:
    """Images (N, C, I, J, K), some sequences of which come in thick slices, drawn into the same voxels; the same shape.

    All that a thick slice shows is its mean; between slices values are interpolated, as whoever puts sequences on one
    grid does.
    """
    changed = images.clone()
    for sample in changed:
        if np.random.random() >= settings.coarse:  # noqa: NPY002
            continue
        axis = 2 if np.random.random() < _AXIAL else int(np.random.randint(2))  # noqa: NPY002
        times = np.random.uniform(*settings.coarse_mm) / spacing_mm[axis]  # noqa: NPY002
        size = list(sample.shape[1:])
        size[axis] = max(1, round(size[axis] / times))
        chosen = _some(len(sample))
        if times > 1:
            thick = functional.interpolate(sample[chosen][None], size=size, mode="area")
            sample[chosen] = functional.interpolate(thick, size=list(sample.shape[1:]), mode="trilinear")[0]
    return changed


def fields_of_view(images: Tensor, settings: VolumeAugmentation) -> Tensor:
    """(N, C, I, J, K) of 0 and 1: 0 where the field of view of a sequence has ended."""
    seen = torch.ones_like(images)
    for sample in seen:
        if np.random.random() >= settings.cut:  # noqa: NPY002
            continue
        axis = int(np.random.randint(3))  # noqa: NPY002
        side = sample.shape[axis + 1]
        depth = round(np.random.uniform(0, settings.cut_depth) * side)  # noqa: NPY002
        start = 0 if np.random.random() < 0.5 else side - depth  # noqa: NPY002
        for channel in _some(len(sample)).tolist():
            sample[channel].narrow(axis, start, depth).zero_()
    return seen


def _some(count: int) -> Tensor:
    """Indices of a random half of so many, one at least."""
    chosen = np.flatnonzero(np.random.random(count) < 0.5)  # noqa: NPY002
    return torch.from_numpy(chosen if chosen.size else np.random.randint(count, size=1))  # noqa: NPY002
