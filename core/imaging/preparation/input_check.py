"""Does the image look like a head slice at all, and like those the model was trained on?

Every measure is a strangeness r >= 0: 0 where slices usually lie, 1 at its limit. All are joined into one score,

    score = 1 / (1 + sum of r^4),

so that any measure at its limit alone brings the score to one half, and several that come near theirs do so together.
An image is in distribution when the score is at least one half.

The measures of the pixels need no model and name what they dislike. Their limits were set on validation slices and on
strange pictures of all kinds, so that fewer than one in a hundred slices of a head is refused by them. The model's
own view, the distance of its features from those of its training data, comes with a limit from the bundle.

Serving and ``python -m training trust``, which measures the check, run this one code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from core.contracts.common import InputCheckResult
from core.contracts.manifest import InputCheck
from core.imaging.preparation.familiarity import KINDS, describe, doubts_of, perceptron
from core.imaging.preparation.frame import Box
from core.imaging.preparation.skull_ring import measure_ring
from core.imaging.preparation.transforms import THUMBNAIL_SIDE, Framed
from core.imaging.slices import Slice

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

_POWER: Final = 4
# Above this a measure says nothing more, and r^4 stays finite.
_STRANGEST: Final = 5.0

_CORNER: Final = 8
_BACKGROUND_LEVEL: Final = 0.12
# Around the head, as a share of the longer side: the limits of what fills the box are of boxes with this rim.
_HEAD_MARGIN: Final = 0.02
_GREYS: Final = 64
# Where each shade begins; the last one holds white and all above it. White, 1, is still within the 64 even steps.
_SHADES: Final = np.linspace(0.0, float(np.nextafter(np.float32(1.0), np.float32(2.0))), _GREYS + 1)
_SHADES[-1] = np.inf
# Spread between the 1st and 99th percentile, absolute (of the full range) and against the bright end.
_SMALLEST_SPREAD: Final = 0.01
_SMALLEST_CONTRAST: Final = 0.1

# Each measure from where it begins to count to its limit.
_COLOURFULNESS: Final = (0.0, 0.05)  # mean spread of R, G, B: fringes of JPEG stay below 0.01, photographs above 0.1
_ASPECT: Final = (1.6, 2.0)  # longer over shorter side of the image
_FILLED: Final = (0.3, 0.15)  # share of the head's box that is brighter than background
_HEAD_SHARE: Final = (0.15, 0.08)  # share of the image that the head's box covers
_CORNERS: Final = (0.06, 0.22)  # brightness of the second darkest corner
_HEAD_ASPECT: Final = (1.05, 1.4)  # width over height of the head: lying bodies are wide
_RING: Final = (0.55, 0.9)  # brightness of the skull's ring, see ``skull_ring``
_RING_GAP: Final = 0.7
_RING_CONTRAST: Final = 1.8
_ENTROPY: Final = (4.9, 3.7)  # bits of 64 greys inside the head: drawings and windowed CT have few
_GRAIN: Final = (
    0.025,
    0.006,
)  # what a median filter takes off, over the spread: anatomy is never quite smooth, though templates nearly are

_TAKEN_FOR: Final = {
    "turned_left": "the head seems to be turned by 90 degrees to the left; send it upright",
    "upside_down": "the head seems to be upside down; send it upright",
    "turned_right": "the head seems to be turned by 90 degrees to the right; send it upright",
    "inverted": "the greys seem to be inverted, black for white",
    "ct": "the image looks like CT; the models know MR only",
    "other": "the image does not look like an MR slice of a head",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure that has begun to count: its ``strangeness`` (1 at the limit) and the words for it."""

    strangeness: float
    reason: str


def check_slice(image: Slice, framed: Framed) -> tuple[Finding, ...]:
    """What speaks against the image being a slice of a head like those the models know; empty when nothing does.

    Everything that is asked before a network is: what the pixels show, what the slice is taken for, and what the file
    itself says. Both model servers ask it. ``framed`` is the image without its border.
    """
    findings = [*check_pixels(image, framed), recognise(framed)]
    if image.computed is not None:
        reason = (
            f"the file says that it holds a computed image, {image.computed} (ImageType), and not plain T1, T2 or FLAIR"
        )
        findings.append(Finding(_STRANGEST, reason))
    return tuple(finding for finding in findings if finding.strangeness > 0.0)


def recognise(framed: Framed) -> Finding:
    """What the slice is taken for (``familiarity``), where that is not a familiar slice."""
    network = perceptron()
    odds = network(describe(framed.pixels, framed.head))
    taken_for = KINDS[1 + int(np.argmax(odds[1:]))]
    limits = float(network.limits[0]), float(network.limits[1])
    return Finding(_towards(float(doubts_of(odds)), limits), _TAKEN_FOR[taken_for])


def check_pixels(image: Slice, framed: Framed) -> tuple[Finding, ...]:
    """What the pixels alone say, by measures that each name what they dislike; empty when they dislike nothing.

    Everything is measured on a thumbnail of ``framed``, the image without its border.
    """
    height, width = framed.pixels.shape
    aspect = max(height, width) / min(height, width)
    findings = [
        Finding(
            _towards(aspect, _ASPECT),
            f"the image is {aspect:.1f} times as long as wide; a slice is closer to square",
        ),
        Finding(_towards(image.colourfulness, _COLOURFULNESS), "the image is coloured; MR slices are grey"),
    ]
    thumbnail = _thumbnail(framed)
    ends = round(0.01 * (thumbnail.size - 1)), round(0.99 * (thumbnail.size - 1))
    low, high = np.partition(thumbnail.ravel(), ends)[list(ends)].tolist()
    if high - low < _SMALLEST_SPREAD or high - low < _SMALLEST_CONTRAST * high:
        findings.append(Finding(_STRANGEST, "the image has almost no contrast: it is nearly one grey"))
    else:
        findings += _check_head(thumbnail / np.float32(high), framed)
    return tuple(finding for finding in findings if finding.strangeness > 0.0)


def _check_head(grey: FloatArray, framed: Framed) -> list[Finding]:
    """``grey`` (h, w): the thumbnail over its bright end."""
    height, width = framed.pixels.shape
    whole = Box(0, 0, height, width)
    box = framed.head.grown(round(_HEAD_MARGIN * whole.longer)).common(whole)
    inside = grey[_rows(box.top, box.bottom, grey.shape[0], whole), _rows(box.left, box.right, grey.shape[1], whole)]
    filled = np.count_nonzero(inside > _BACKGROUND_LEVEL) / inside.size if inside.size else 0.0
    share = box.height * box.width / (height * width)
    findings = [
        Finding(_towards(filled, _FILLED), "nothing in the image is large and bright enough to be a head"),
        Finding(_towards(share, _HEAD_SHARE), "the head fills too small a part of the image"),
        Finding(
            _towards(_second_darkest_corner(grey), _CORNERS),
            "the image has no dark background, which surrounds the head in a slice",
        ),
        *_check_greys(grey),
    ]
    region = _largest_region(grey)
    if region is not None:
        head, wide = region
        findings += [
            Finding(_towards(wide, _HEAD_ASPECT), "what the image shows is too wide for a head, as a body is"),
            Finding(_ct(grey, head), "a closed bright ring surrounds the brain, as bone does in CT"),
        ]
    return findings


def _check_greys(grey: FloatArray) -> list[Finding]:
    bright = grey[grey > np.float32(_BACKGROUND_LEVEL)]
    # Shades begin at, or just above, whole steps: the step that a value lies in is its shade or the one above it.
    shades = np.minimum(bright * np.float32(_GREYS), np.float32(_GREYS - 1)).astype(np.intp)
    shades -= bright < _SHADES[shades]
    counts = np.bincount(shades).astype(np.float32)
    counts = counts[counts > 0]
    shares = counts / np.float32(max(1, bright.size))
    entropy = float(-(shares * np.log2(shares)).sum())
    # Brighter than white is white.
    levels = cv2.convertScaleAbs(grey, alpha=255.0)
    grain = cv2.norm(levels, cv2.medianBlur(levels, 3), cv2.NORM_L1) / levels.size / 255.0
    _, spread = cv2.meanStdDev(grey)
    grain /= float(spread[0, 0]) + 1e-6
    return [
        Finding(_towards(entropy, _ENTROPY), "the image has few shades of grey, as drawings and windowed CT have"),
        Finding(_towards(grain, _GRAIN), "the image is smoother than an MR slice ever is"),
    ]


def _ct(grey: FloatArray, head: ByteArray) -> float:
    ring = measure_ring(grey, head, _RING[0])
    if ring is None:
        return 0.0
    closed = min(ring.gap / _RING_GAP, 1.0) * min(ring.contrast / _RING_CONTRAST, 1.0)
    return _towards(ring.brightness, _RING) * closed


def check_input(
    findings: Sequence[Finding], thresholds: InputCheck | None, distance: float, energy: float
) -> InputCheckResult:
    """Joins the pixels' verdict with the model's: ``distance`` and ``energy`` of this image over their limits.

    The distance counts as distance / max_distance; the evidence that the energy stands for, exp(-energy), counts as
    that at the limit over this image's. Without thresholds only the pixels are judged. What is not finite is
    as strange as can be. When the image is refused, the measures at their limits are named, or else the largest.
    """
    everything = list(findings)
    if thresholds is not None:
        everything.append(
            Finding(
                _bounded(max(distance, 0.0) / thresholds.max_distance if thresholds.max_distance > 0 else np.inf),
                "the image looks unlike the slices that the model was trained on",
            )
        )
        if thresholds.max_energy is not None:
            everything.append(
                Finding(
                    _bounded(float(np.exp(min(energy - thresholds.max_energy, 9.0)))),
                    "the model finds little evidence for any of its classes",
                )
            )
    score = 1.0 / (1.0 + total_strangeness(everything))
    if score >= 0.5:
        return InputCheckResult(in_distribution=True, score=score)
    named = min(1.0, max(finding.strangeness for finding in everything))
    reasons = tuple(finding.reason for finding in everything if finding.strangeness >= named)
    return InputCheckResult(in_distribution=False, score=score, reasons=reasons)


def total_strangeness(findings: Sequence[Finding]) -> float:
    """Sum of r^4, from 0; above 1 the image is refused."""
    return sum(finding.strangeness**_POWER for finding in findings)


def largest_distance(distances: FloatArray, pixels: FloatArray, acceptance: float) -> float:
    """``max_distance`` at which a share ``acceptance`` of the slices that their pixels let pass is in distribution.

    ``distances`` (n,) are theirs, ``pixels`` (n,) the ``total_strangeness`` of their pixels. By the formula of the
    score a slice needs a limit of distance / (1 - pixels)^(1/4); the result is the quantile of these. Raises ValueError
    when no slice passes.
    """
    passing = pixels < 1.0
    if not passing.any():
        raise ValueError("the check refuses every slice by its pixels alone")
    needed = distances[passing] / (1.0 - pixels[passing].astype(np.float64)) ** (1 / _POWER)
    return float(np.quantile(needed, acceptance, method="higher"))


def _towards(value: float, limits: tuple[float, float]) -> float:
    """0 up to the first limit, 1 at the second, which may lie below it, and on in proportion."""
    usual, limit = limits
    return _bounded((value - usual) / (limit - usual))


def _bounded(strangeness: float) -> float:
    return min(max(strangeness, 0.0), _STRANGEST) if math.isfinite(strangeness) else _STRANGEST


def _thumbnail(framed: Framed) -> FloatArray:
    """Longest side ``THUMBNAIL_SIDE``, enlarged too, and room for the corners."""
    rows, columns = framed.pixels.shape
    scale = THUMBNAIL_SIDE / max(rows, columns)
    size = (max(_CORNER, round(columns * scale)), max(_CORNER, round(rows * scale)))
    if framed.thumbnail.shape == size[::-1]:
        return framed.thumbnail
    return np.asarray(cv2.resize(framed.pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def _rows(start: int, end: int, count: int, whole: Box) -> slice:
    """Pixels ``start`` to ``end`` of the image on a side of ``count`` pixels of the thumbnail."""
    scale = THUMBNAIL_SIDE / whole.longer
    first = min(int(start * scale), count - 1)
    return slice(first, max(first + 1, round(end * scale)))


def _second_darkest_corner(grey: FloatArray) -> float:
    edges = (slice(None, _CORNER), slice(-_CORNER, None))
    return float(sorted(cv2.mean(grey[rows, columns])[0] for rows in edges for columns in edges)[1])


def _largest_region(grey: FloatArray) -> tuple[ByteArray, float] | None:
    """The largest bright region (h, w), and its width over its height."""
    bright = (cv2.blur(grey, (3, 3)) > _BACKGROUND_LEVEL).view(np.uint8)
    count, labels = cv2.connectedComponents(bright, connectivity=8, ltype=cv2.CV_16U)
    if count < 2:
        return None
    head = bright
    # Mostly there is only one, and counting pixels takes longer than finding the regions.
    if count > 2:
        head = (labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])).view(np.uint8)
    _, _, width, height = cv2.boundingRect(head)
    return head, width / height
