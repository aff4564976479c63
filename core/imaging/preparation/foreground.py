"""Where the head is in a volume, skull-stripped or not, and between which values its greys lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from core.imaging.components import label_components
from core.imaging.volume import Bounds, FloatArray, bounds_of, corners_of

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


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """The head in a canonical volume: its ``bounds``, and a coarse ``mask`` of every ``step``-th voxel."""

    bounds: Bounds
    mask: BoolArray
    step: int

    def window(self, voxels: npt.NDArray[np.generic], percentiles: tuple[float, float]) -> tuple[float, float]:
        """The values of the canonical volume at two percentiles of the head."""
        low, high = np.percentile(self.greys(voxels), percentiles)
        return float(low), float(high)

    def greys(self, voxels: npt.NDArray[np.generic]) -> FloatArray:
        """The values (n,) of the canonical volume at the voxels of the mask."""
        return _coarse(voxels, self.step)[self.mask]


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
