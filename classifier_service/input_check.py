"""Does the image look like a head slice at all, and like those the model was trained on?

Two layers. Checks of the pixels need no model and name what they dislike; their limits were set so that of 7,000
public slices fewer than one in a thousand is refused. The model's own view, the distance of its features from
those of its training data, comes with limits from the bundle.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from core.contracts.common import InputCheckResult
from core.contracts.manifest import InputCheck
from core.imaging.slices import Slice
from core.imaging.transforms import Placement

FloatArray = npt.NDArray[np.float32]

# The statistics are read from at most this many pixels a side: near enough, and a twentieth of a millisecond.
_SAMPLE_SIDE: Final = 64
# Mean spread of R, G, B: colour fringes of JPEG stay below 0.01, photographs and colour maps lie above 0.1.
_MOST_COLOURFUL: Final = 0.05
_LONGEST_ASPECT: Final = 2.0
# Spread between the 1st and 99th percentile, absolute (of the full range) and against the bright end.
_SMALLEST_SPREAD: Final = 0.01
_SMALLEST_CONTRAST: Final = 0.1
# Share of the slice that the head's box covers, and share of the box that is brighter than background.
_SMALLEST_HEAD: Final = 0.08
_EMPTIEST_HEAD: Final = 0.15
_FULLEST_HEAD: Final = 0.995
_BACKGROUND_LEVEL: Final = 0.12
# Steepness of the score around the threshold: at half the largest distance it is 0.94, at twice 0.06.
_SCORE_STEEPNESS: Final = 4.0
# A score under a failed check stays below 0.5, so that score and verdict never disagree.
_FAILED_CHECK_FACTOR: Final = 0.4


def check_pixels(image: Slice, placement: Placement) -> tuple[str, ...]:
    """What speaks against the image being a slice of a head, in plain words; empty when nothing does."""
    reasons: list[str] = []
    height, width = image.pixels.shape
    aspect = max(height, width) / min(height, width)
    if aspect > _LONGEST_ASPECT:
        reasons.append(f"the image is {aspect:.1f} times as long as wide; a slice is closer to square")
    if image.colourfulness > _MOST_COLOURFUL:
        reasons.append("the image is coloured; MR slices are grey")
    greys = _sorted_sample(image.pixels)
    low, high = _quantile(greys, 0.01), _quantile(greys, 0.99)
    if high - low < _SMALLEST_SPREAD or high - low < _SMALLEST_CONTRAST * high:
        reasons.append("the image has almost no contrast: it is nearly one grey")
        return tuple(reasons)
    reasons.extend(_check_head(image, placement))
    return tuple(reasons)


def _check_head(image: Slice, placement: Placement) -> list[str]:
    box = placement.box
    inside = _sorted_sample(image.pixels[box.top : box.bottom, box.left : box.right])
    background = np.searchsorted(inside, _BACKGROUND_LEVEL * _quantile(inside, 0.99), side="right")
    filled = 1.0 - float(background) / inside.size
    if filled < _EMPTIEST_HEAD:
        return ["nothing in the image is large and bright enough to be a head"]
    if box.height * box.width < _SMALLEST_HEAD * image.pixels.size:
        return ["the head fills too small a part of the image"]
    if filled > _FULLEST_HEAD:
        return ["the image has no dark background, which surrounds the head in a slice"]
    return []


def _sorted_sample(pixels: FloatArray) -> FloatArray:
    """Greys of a coarse grid of pixels (h, w), ascending: sorted once, every quantile is a look-up."""
    step = max(1, -(-max(pixels.shape) // _SAMPLE_SIDE))
    return np.sort(pixels[::step, ::step], axis=None)


def _quantile(greys: FloatArray, share: float) -> float:
    return float(greys[round(share * (greys.size - 1))])


def check_input(
    pixel_reasons: tuple[str, ...], thresholds: InputCheck | None, distance: float, energy: float
) -> InputCheckResult:
    """Joins the pixels' verdict with the model's: ``distance`` and ``energy`` of this image against the thresholds.

    The score falls with the distance and is 0.5 at the threshold; a failed check of another kind pulls it below
    0.5. Without thresholds only the pixels are judged.
    """
    score, reasons = 1.0, list(pixel_reasons)
    other_failed = bool(pixel_reasons)
    if thresholds is not None:
        score = score_distance(distance, thresholds.max_distance)
        if not distance <= thresholds.max_distance:
            reasons.append("the image looks unlike the slices that the model was trained on")
        if thresholds.max_energy is not None and not energy <= thresholds.max_energy:
            reasons.append("the model finds little evidence for any of its classes")
            other_failed = True
    if other_failed:
        score *= _FAILED_CHECK_FACTOR
    return InputCheckResult(in_distribution=not reasons, score=score, reasons=tuple(reasons))


def score_distance(distance: float, max_distance: float) -> float:
    """Familiarity in [0, 1]: 1 at no distance, 0.5 at ``max_distance``, falling throughout."""
    if not np.isfinite(distance) or max_distance <= 0.0:
        return 0.0
    ratio = min(max(distance, 0.0) / max_distance, 1e6)
    return float(1.0 / (1.0 + ratio**_SCORE_STEEPNESS))
