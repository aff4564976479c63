"""The one preprocessing of volumes: training builds its data with it, serving prepares jobs with it.

Sequences on one grid are put in canonical order, cut to the head, resampled to the working spacing and stretched
between two percentiles of the head. ``WorkingSpace`` remembers the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from core.contracts.manifest import VolumePreprocessing
from core.contracts.sequences import SEQUENCES
from core.errors import InvalidRequest, MissingSequence
from core.imaging.preparation.copies import find_copies
from core.imaging.preparation.foreground import Foreground, find_foreground
from core.imaging.preparation.geometry import Reorientation, WorkingSpace
from core.imaging.preparation.intensities import settle
from core.imaging.volume import Bounds, FloatArray, Grid, Shape, Spacing, Volume


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """Parameters of ``prepare_volume``.

    ``sequences`` name the channels in order; ``spacing_mm`` is the working spacing of all axes or of each, None for the
    input's own, which slices that are further apart keep with ``keep_thick_slices``; ``percentiles`` of the head become
    0 and 1; ``margin_mm`` is left around the head; a sequence that correlates with another above ``copy_correlation``
    is left out.
    """

    sequences: tuple[str, ...] = SEQUENCES
    spacing_mm: float | Spacing | None = 1.0
    percentiles: tuple[float, float] = (0.5, 99.8)
    margin_mm: float = 4.0
    keep_thick_slices: bool = False
    copy_correlation: float | None = None

    @classmethod
    def of(cls, preprocessing: VolumePreprocessing) -> Self:
        """What a manifest asks for."""
        return cls(
            preprocessing.sequences,
            preprocessing.spacing_mm,
            preprocessing.percentiles,
            preprocessing.margin_mm,
            preprocessing.keep_thick_slices,
            preprocessing.copy_correlation,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PreparedVolume:
    """``tensor`` float32 (channels, right, anterior, superior) in [0, 1], C-contiguous, and its ``space``.

    ``copies`` names the sequences that were left out, each with the one that it repeats.
    """

    tensor: FloatArray
    space: WorkingSpace
    copies: Mapping[str, str] = field(default_factory=dict)


def stretched(values: FloatArray, window: tuple[float, float]) -> FloatArray:
    """Values with ``window`` (low, high) as 0 and 1, clipped beyond; all zeros for an empty window."""
    low, high = window
    if high <= low:
        return np.zeros(values.shape, np.float32)
    result = np.subtract(values, np.float32(low), dtype=np.float32, order="C")
    result /= np.float32(high - low)
    return np.clip(result, 0.0, 1.0, out=result)


def prepare_volume(volumes: Mapping[str, Volume], spec: VolumeSpec) -> PreparedVolume:
    """Volumes on one grid, by sequence, as the model's input; absent sequences are all zeros, and so are copies.

    What surrounds the head is 0 whatever its value was (``settle``, which the caller of volumes that have yet to be
    resampled has done before: the second time nothing changes). Raises ``MissingSequence`` for none, ``InvalidRequest``
    for a sequence that the model does not take, and ``UnusableVolume`` as ``settle`` does. Memory is that of the tensor
    and about two sequences, and that of the sequences whose surroundings had to be made dark.
    """
    if not volumes:
        raise MissingSequence(f"at least one of {', '.join(spec.sequences)} is needed")
    unknown = sorted(set(volumes) - set(spec.sequences))
    if unknown:
        raise InvalidRequest(f"unknown sequence {', '.join(unknown)}: this model takes {', '.join(spec.sequences)}")
    volumes = settle(volumes).volumes
    grid = next(iter(volumes.values())).grid
    reorientation = Reorientation.of(grid.affine)
    heads = {name: find_foreground(reorientation.apply(volume.voxels)) for name, volume in volumes.items()}
    bounds = _head_bounds(heads, reorientation.turn(grid), spec.margin_mm)
    space = WorkingSpace.over(grid, bounds, spec.spacing_mm, keep_thick_slices=spec.keep_thick_slices)
    tensor = np.zeros((len(spec.sequences), *space.shape), np.float32)
    for name, volume in volumes.items():
        window = heads[name].window(reorientation.apply(volume.voxels), spec.percentiles)
        tensor[spec.sequences.index(name)] = stretched(space.extract(volume.voxels), window)
    return PreparedVolume(tensor, space, _without_copies(tensor, spec))


def _without_copies(tensor: FloatArray, spec: VolumeSpec) -> dict[str, str]:
    """Black out the channels that repeat another one; their names, each with the one that is kept."""
    if spec.copy_correlation is None:
        return {}
    channels = dict(zip(spec.sequences, tensor, strict=True))
    copies = find_copies(channels, spec.sequences, spec.copy_correlation)
    for name in copies:
        channels[name][...] = 0
    return copies


def _head_bounds(heads: Mapping[str, Foreground], canonical: Grid, margin_mm: float) -> Bounds:
    """What any of the sequences shows of the head, with a margin."""
    first, *others = (head.bounds for head in heads.values())
    for other in others:
        first = first.union(other)
    return first.grown(_in_voxels(margin_mm, canonical), canonical.shape)


def _in_voxels(distance_mm: float, grid: Grid) -> Shape:
    i, j, k = (round(distance_mm / spacing) for spacing in grid.spacing_mm)
    return i, j, k
