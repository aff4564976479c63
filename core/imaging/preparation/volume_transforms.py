"""The one preprocessing of volumes: training builds its data with it, serving prepares jobs with it.

Sequences on one grid are put in canonical order, cut to the head, resampled to the working spacing and stretched
between two percentiles of the head. ``WorkingSpace`` remembers the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import VolumePreprocessing
from core.contracts.sequences import SEQUENCES
from core.errors import InvalidRequest, MissingSequence, UnusableVolume
from core.imaging.components import label_components
from core.imaging.preparation.copies import find_copies
from core.imaging.preparation.geometry import Reorientation, WorkingSpace
from core.imaging.volume import Bounds, FloatArray, Grid, Shape, Spacing, Volume, bounds_of, corners_of

BoolArray = npt.NDArray[np.bool_]

# The head is looked for on at most this many voxels a side.
_COARSE_SIDE: Final = 96
# Skull-stripped volumes are one value outside the brain: in every corner, and in at least this share of voxels.
_STRIPPED_SHARE: Final = 0.2
# Elsewhere a voxel belongs to the head when it is brighter than this share of the way from dark to bright ...
_HEAD_LEVEL: Final = 0.12
_DARK_PERCENTILE: Final = 1.0
_BRIGHT_PERCENTILE: Final = 99.0
# ... and a region counts when it holds at least this share of the largest region's voxels.
_REGION_SHARE: Final = 0.2
# A head smaller than this share of the volume is not believed: the whole volume is used.
_SMALLEST_HEAD: Final = 0.005


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


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """The head in a canonical volume: its ``bounds``, and a coarse ``mask`` of every ``step``-th voxel."""

    bounds: Bounds
    mask: BoolArray
    step: int

    def window(self, voxels: npt.NDArray[np.generic], percentiles: tuple[float, float]) -> tuple[float, float]:
        """The values of the canonical volume at two percentiles of the head."""
        head = _coarse(voxels, self.step)[self.mask]
        low, high = np.percentile(head, percentiles)
        return float(low), float(high)


def find_foreground(voxels: npt.NDArray[np.generic]) -> Foreground:
    """The head in canonical voxels (i, j, k), skull-stripped or not; the whole volume where none stands out."""
    step = max(1, -(-max(voxels.shape) // _COARSE_SIDE))
    coarse = _coarse(voxels, step)
    mask = _stripped_mask(coarse)
    if mask is None:
        mask = _bright_mask(coarse)
    found = bounds_of(mask)
    i, j, k = voxels.shape
    if found is None or np.count_nonzero(mask) < _SMALLEST_HEAD * mask.size:
        return Foreground(Bounds.whole((i, j, k)), np.ones_like(mask), step)
    start = [first * step for first in found.start]
    stop = [min((last - 1) * step + 1, size) for last, size in zip(found.stop, voxels.shape, strict=True)]
    bounds = Bounds((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    # What begins between two sampled voxels was not seen.
    return Foreground(bounds.grown((step - 1, step - 1, step - 1), (i, j, k)), mask, step)


def _coarse(voxels: npt.NDArray[np.generic], step: int) -> FloatArray:
    return np.asarray(voxels[::step, ::step, ::step], np.float32)


def _stripped_mask(coarse: FloatArray) -> BoolArray | None:
    corners = corners_of(coarse)
    background = corners.flat[0]
    outside: BoolArray = coarse == background
    if (corners != background).any() or np.count_nonzero(outside) < _STRIPPED_SHARE * coarse.size:
        return None
    return ~outside


def _bright_mask(coarse: FloatArray) -> BoolArray:
    # The mean of 27 voxels drowns noise and small bright marks.
    smooth = _averaged(coarse)
    dark, bright = np.percentile(smooth, (_DARK_PERCENTILE, _BRIGHT_PERCENTILE))
    mask: BoolArray = smooth > dark + _HEAD_LEVEL * (bright - dark)
    regions, count = label_components(mask, corners=False)
    if count < 2:
        return mask
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    kept: BoolArray = (sizes >= _REGION_SHARE * sizes.max())[regions] & mask
    return kept


def _averaged(voxels: FloatArray) -> FloatArray:
    """The mean of each voxel and its 26 neighbours; beyond the faces their values go on."""
    for axis in range(3):
        lines = np.moveaxis(voxels.astype(np.float64), axis, 0)
        longer = np.concatenate([lines[:1], lines, lines[-1:]])
        # A running sum, as scipy.ndimage.uniform_filter has it.
        first = (longer[:1] + longer[1:2]) + longer[2:3]
        sums = np.add.accumulate(np.concatenate([first, longer[3:] - longer[:-3]]), axis=0)
        voxels = np.moveaxis(sums / 3.0, 0, axis).astype(np.float32)
    return voxels


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

    Raises ``MissingSequence`` for none, ``InvalidRequest`` for a sequence that the model does not take,
    ``UnusableVolume`` for one that holds NaN or infinity: one such voxel would spread over all the network's output, or
    vanish in it. Memory is that of the tensor and about two sequences.
    """
    if not volumes:
        raise MissingSequence(f"at least one of {', '.join(spec.sequences)} is needed")
    unknown = sorted(set(volumes) - set(spec.sequences))
    if unknown:
        raise InvalidRequest(f"unknown sequence {', '.join(unknown)}: this model takes {', '.join(spec.sequences)}")
    for name, volume in volumes.items():
        # Both are NaN where any voxel is.
        if not np.isfinite((volume.voxels.min(), volume.voxels.max())).all():
            raise UnusableVolume(f"{name}: the volume holds values that are no finite numbers.")
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
