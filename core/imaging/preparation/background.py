"""What surrounds the head in a volume, found by its one value and made dark, whatever that value is.

Others skull-strip volumes and write one value outside the brain, mostly 0. After a z-score 0 is the mean of the brain:
a network that learnt from dark surroundings then takes the air for grey matter, and finds 240 ml of a tumour of 130. So
the value along the edges of the volume is looked for. Where it is not dark among the head's own values, or is so dark
that a mixture of both would be no grey of the head, its voxels outside of the head become black.

``docs/experiments/intensities.md`` says how well answers hold over the ways in which intensities are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from core.imaging.components import grown, joined_to_border
from core.imaging.volume import FloatArray, edges_of

BoolArray = npt.NDArray[np.bool_]

# Values are counted on at most this many voxels a side.
_COARSE_SIDE: Final = 96
# The background's value fills this share of the edges: heads that are cut off touch faces, and hardly edges.
_EDGE_SHARE: Final = 0.5
# Interpolation leaves values that are nearly one: within this share of the spread of all, on nearly all of the edges,
_NEAR: Final = 0.01
_NEAR_EDGE_SHARE: Final = 0.9
# and with this share of the head darker by so much of the spread. Noise of air has nothing below it.
_DARKER_SHARE: Final = 0.05
_DARKER_BY: Final = 0.1
# The head's own black and white.
_PERCENTILES: Final = (0.5, 99.8)
# Where values lie between them: a background above the first is not dark, 0 below the second and another value below
# the third are too dark to be mixed with values of the head. The fourth is what they become; most plain volumes have
# their 0 there.
_DARK: Final = 0.05
_ABYSS_OF_ZERO: Final = -1.0
_ABYSS: Final = -0.15
_BLACK: Final = -0.1
# Clefts in the head that are too narrow to be told from a seam of its own voxels are followed this many voxels deep.
_CLEFT: Final = 3


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a volume had around the head: ``values``, from the outside inwards, now ``black``.

    ``low`` and ``high`` are the head's own black and white; ``brightness`` is where the brightest of ``values`` lies
    between them, 0 to 1 or beyond.
    """

    values: tuple[float, ...]
    black: float
    low: float
    high: float
    brightness: float


@dataclass(frozen=True, slots=True)
class _Fill:
    """Values that a volume is filled up with around the head, each to within ``tolerance``."""

    values: tuple[float, ...]
    tolerance: float = 0.0

    def held_by(self, voxels: FloatArray) -> BoolArray:
        held = np.zeros_like(voxels, np.bool_)
        for value in self.values:
            held |= np.abs(voxels - np.float32(value)) <= self.tolerance if self.tolerance else voxels == value
        return held


def with_dark_background(voxels: FloatArray) -> tuple[FloatArray, Surroundings | None]:
    """Finite voxels (i, j, k) in any order with what surrounds the head black; and what that was.

    Where the background's value is a grey of the head, voxels inside the head that hold it keep it. The array itself
    comes back, with nothing to tell, where no one value surrounds the head and where that value is dark already, so the
    result is its own result. Memory: a copy, and 4 bytes a voxel.
    """
    step = max(1, -(-max(voxels.shape) // _COARSE_SIDE))
    coarse = voxels[::step, ::step, ::step]
    fill = _find_fill(voxels, coarse)
    if fill is None:
        return voxels, None
    head = coarse[~fill.held_by(coarse)]
    if not head.size:
        return voxels, None
    low, high = (float(value) for value in np.percentile(head, _PERCENTILES))
    if high <= low:
        return voxels, None
    places = [(value - low) / (high - low) for value in fill.values]
    if all(_is_dark(*both) for both in zip(fill.values, places, strict=True)):
        return voxels, None
    black = np.float32(low + _BLACK * (high - low))
    outside = fill.held_by(voxels)
    if max(places) > _DARK:
        outside = _around(outside, step)
    # Whole numbers have no room for a black between two of them.
    dark = voxels.astype(np.float32, order="K")
    dark[outside] = black
    if min(places) < _ABYSS:
        # What was interpolated between the head and an abyss is as far from grey as the abyss itself.
        np.maximum(dark, black, out=dark)
    return dark, Surroundings(fill.values, float(black), low, high, max(places))


def _is_dark(value: float, place: float) -> bool:
    return (_ABYSS_OF_ZERO if value == 0 else _ABYSS) <= place <= _DARK


def _find_fill(voxels: FloatArray, coarse: FloatArray) -> _Fill | None:
    edges = edges_of(voxels)
    values, counts = np.unique(edges, return_counts=True)
    value = float(values[np.argmax(counts)])
    if counts.max() >= _EDGE_SHARE * edges.size:
        # Tools that move a brain of z-scores fill up what comes into view with another value than the 0 around it.
        inner = value != 0 and _surrounded_by_zero(coarse, value)
        return _Fill((value, 0.0) if inner else (value,))
    middle = float(np.median(edges))
    spread = float(np.ptp(np.percentile(coarse, _PERCENTILES)))
    if np.count_nonzero(np.abs(edges - middle) <= _NEAR * spread) < _NEAR_EDGE_SHARE * edges.size:
        return None
    fill = _Fill((middle,), _NEAR * spread)
    head = coarse[~fill.held_by(coarse)]
    darker = np.count_nonzero(head < middle - _DARKER_BY * spread)
    return fill if darker >= max(1, _DARKER_SHARE * head.size) else None


def _surrounded_by_zero(coarse: FloatArray, value: float) -> bool:
    """Whether most of the voxels that touch those of ``value`` are 0."""
    outside = coarse == value
    beside = coarse[grown(outside) & ~outside]
    return bool(np.count_nonzero(beside == 0) > beside.size / 2)


def _around(held: BoolArray, step: int) -> BoolArray:
    """Those of the voxels ``held`` by the background's value that lie around the head, (i, j, k).

    Around it lies what leads to the border of the volume over voxels whose neighbours are held as well: so a seam of
    voxels of the head that happen to hold the value is no way into it. What leads there is looked for on every
    ``step``-th voxel and on the faces, and from there all others are near.
    """
    core = ~grown(~held)
    around = np.zeros_like(held)
    around[::step, ::step, ::step] = joined_to_border(core[::step, ::step, ::step])
    for axis in range(3):
        ends, faces = np.moveaxis(core, axis, 0), np.moveaxis(around, axis, 0)
        faces[0] |= ends[0]
        faces[-1] |= ends[-1]
    for _ in range(3 * (step - 1) + _CLEFT):
        around = grown(around) & held
    return around
