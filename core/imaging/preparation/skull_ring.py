"""How much a slice of a head looks like CT: a closed ring as bright as anything, and no dark gap inside it.

Bone is the brightest thing in a CT slice and the brain reaches up to it. In MR the skull is black: what shines there
is the fat of the scalp, outside a dark gap, and rarely all the way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

_ANGLES: Final = 64
_STEPS: Final = 48
# Shares of the way from the centre to the outline: the brain ends and the skull begins about here.
_BRAIN_ENDS: Final = 0.6
_SKULL_BEGINS: Final = 0.65
_GAP_BEGINS: Final = 0.55
_GAP_FROM: Final = round(_GAP_BEGINS * _STEPS)
# Of the directions, this share may miss the ring (a suture, a cut-off edge).
_OPEN_SHARE: Final = 0.15
_SMALLEST_HEAD_PIXELS: Final = 200

_DIRECTIONS: Final = np.arange(_ANGLES, dtype=np.float32)[:, None] * np.float32(2 * np.pi / _ANGLES)
_COSINES: Final = np.cos(_DIRECTIONS)
_SINES: Final = np.sin(_DIRECTIONS)
_SHARES: Final = np.linspace(0, 1, _STEPS, dtype=np.float32)[None]


@dataclass(frozen=True, slots=True)
class SkullRing:
    """``brightness`` of the ring in [0, 1] of the head's brightest; ``gap`` and ``contrast``: the darkest place inside
    the ring, and the ring itself, over the brain's median.
    """

    brightness: float
    gap: float
    contrast: float


def measure_ring(grey: FloatArray, head: ByteArray, faintest: float = 0.0) -> SkullRing | None:
    """Along rays from the centre of the head; ``grey`` (h, w) in any unit, ``head`` (h, w) 1 inside its largest region.

    None where the head is too small to tell, or the ring not brighter than ``faintest``.
    """
    inside = grey[head > 0]
    if inside.size < _SMALLEST_HEAD_PIXELS:
        return None
    rank = round(0.995 * (inside.size - 1))
    brightest = float(np.partition(inside, rank)[rank])
    if brightest <= 0.0:
        return None
    profiles = np.minimum(_profiles(grey, head) / np.float32(brightest), np.float32(1.0))
    skull = profiles[:, round(_SKULL_BEGINS * _STEPS) :]
    brightness = float(np.sort(skull.max(axis=1))[round(_OPEN_SHARE * (_ANGLES - 1))])
    if brightness <= faintest:
        return None
    peaks = skull.argmax(axis=1) + round(_SKULL_BEGINS * _STEPS)
    brain = _median(profiles[:, : round(_BRAIN_ENDS * _STEPS)].ravel()) + 1e-3
    before = peaks[:, None] >= np.arange(_GAP_FROM, _STEPS)
    gap = _median(np.where(before, profiles[:, _GAP_FROM:], np.float32(1.0)).min(axis=1))
    return SkullRing(brightness, gap / brain, brightness / brain)


def _median(values: FloatArray) -> float:
    """Of values (n,); a plain sort takes a fourth of ``np.median``'s time on so few."""
    ascending = np.sort(values)
    return float(ascending[(values.size - 1) // 2] + ascending[values.size // 2]) / 2


def _profiles(grey: FloatArray, head: ByteArray) -> FloatArray:
    """Greys (angles, steps) from the centre of the head's box to its convex outline."""
    contours, _ = cv2.findContours(head, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = cv2.convexHull(np.concatenate(contours))
    left, top, width, height = cv2.boundingRect(outline)
    filled = np.zeros_like(head)
    cv2.fillConvexPoly(filled, outline, 1)
    x, y = left + (width - 1) / 2, top + (height - 1) / 2
    reach = np.arange(max(width, height), dtype=np.float32)[None]
    along = cv2.remap(filled, *_points(x, y, reach), cv2.INTER_NEAREST)
    edges = np.maximum(along.sum(axis=1, keepdims=True, dtype=np.float32), np.float32(2.0))
    return np.asarray(cv2.remap(grey, *_points(x, y, _SHARES * edges), cv2.INTER_LINEAR), np.float32)


def _points(x: float, y: float, radii: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.float32(x) + _COSINES * radii, np.float32(y) + _SINES * radii
