"""Pictures made up from slices of MR: with inverted greys, and as CT of the same head might look.

CT comes from more scanners, windows and kernels than any package holds, so much of what is learnt of it is made up.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from training.data.archives import BoolArray, FloatArray, UInt8Array

# Centre and width in Hounsfield units: brain, stroke, subdural, soft tissue, bone, lung, everything.
_WINDOWS: Final = ((40, 80), (35, 40), (75, 215), (50, 350), (500, 2000), (-500, 1500), (1000, 4000))
_AIR: Final = -1000.0
# How often a made-up CT shows a brain alone, a shell all round, and a head rest.
_BRAIN_ALONE: Final = 0.12
_CLOSED: Final = 0.55
_HELD: Final = 0.5
# How a head is inverted: with its background, cut out by its brightness, cut out along its outline.
INVERSIONS: Final = ("whole", "bright", "outlined")


def inverted(pixels: FloatArray, how: str) -> FloatArray:
    """Black for white (h, w), in one of the ways of ``INVERSIONS``."""
    turned = np.float32(pixels.max()) - pixels
    if how == "bright":
        turned = turned * (cv2.blur(pixels, (5, 5)) > 0.1 * pixels.max())
    elif how == "outlined":
        turned = turned * filled_head(pixels)
    return np.asarray(turned, np.float32)


def made_up_ct(mr: FloatArray, rng: np.random.Generator) -> FloatArray:
    """CT (h, w) as it might be of the head in an MR slice: bone for its rim, hardly any contrast in it, a window.

    The bone's shell follows the outline of the head, all round or down to some level, so it is right only roughly. Now
    and then the brain is shown alone, as templates are, or what is dark in MR becomes the bone and air of a face.
    """
    inside = filled_head(mr)
    below = cv2.distanceTransform(inside, cv2.DIST_L2, 5) / max(1.0, float(np.sqrt(inside.sum())))
    depth = below + 0.012 * _uneven(mr.shape, rng)
    scalp, bone = rng.uniform(0.01, 0.06), rng.uniform(0.03, 0.09)
    units = _soft_tissue(mr, inside, depth > scalp + bone + 0.03, rng)
    if rng.random() < _BRAIN_ALONE:
        units[depth < scalp + bone] = _AIR
    else:
        closed = rng.random() < _CLOSED
        reach = np.arange(mr.shape[0])[:, None] < (1.0 if closed else rng.uniform(0.3, 0.8)) * mr.shape[0]
        skin = rng.uniform(-110, 50) + 8 * rng.normal(0, 1, mr.shape)
        units = np.where(depth < scalp, skin, units)
        if not closed:
            face = (inside > 0) & (depth > scalp) & (mr < rng.uniform(0.08, 0.25) * float(np.percentile(mr, 99)))
            units = np.where(face, np.where(_uneven(mr.shape, rng) > 0, rng.uniform(300, 1500), _AIR), units)
        shell = (depth >= scalp) & (depth < scalp + bone) & reach
        middle = np.abs((depth - scalp) / bone - 0.5) < rng.uniform(0, 0.3)
        units[shell] = rng.uniform(600, 1700)
        units[shell & middle] = rng.uniform(200, 900)
    units[inside == 0] = _AIR
    if rng.random() < _HELD:
        units = _held(units, inside, rng)
    noise = cv2.GaussianBlur(rng.normal(0, 1, mr.shape).astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
    sharp = cv2.GaussianBlur(units.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2)) + rng.uniform(2, 14) * noise
    centre, width = _WINDOWS[int(rng.integers(len(_WINDOWS)))]
    seen = (sharp - centre * rng.uniform(0.8, 1.2)) / (width * rng.uniform(0.7, 1.4)) + 0.5
    return np.asarray(np.clip(seen, 0, 1), np.float32)


def _soft_tissue(mr: FloatArray, inside: UInt8Array, deep: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Hounsfield units (h, w) of a brain, with some of the contrast of the MR slice, and of the fluid in it."""
    smooth = cv2.GaussianBlur(mr, (0, 0), rng.uniform(0.5, 2.5))
    brain = smooth[inside > 0]
    units = 34 + rng.uniform(-6, 9) * (smooth - brain.mean()) / max(float(brain.std()), 1e-3)
    units[(smooth < 0.5 * np.median(brain)) & deep] = rng.uniform(2, 14)
    return np.asarray(units, np.float32)


def filled_head(mr: FloatArray) -> UInt8Array:
    """1 inside the outline of what is bright (h, w), holes and dents filled."""
    bright = (cv2.blur(mr, (5, 5)) > 0.12 * float(np.percentile(mr, 99))).astype(np.uint8)
    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mr.shape, np.uint8)
    if outlines:
        largest = max(outlines, key=cv2.contourArea)
        cv2.drawContours(filled, [cv2.convexHull(largest)], -1, 1, cv2.FILLED)
    return filled


def _held(units: FloatArray, inside: UInt8Array, rng: np.random.Generator) -> FloatArray:
    """With the head rest below and round it, of foam and a thin shell."""
    height = units.shape[0]
    away = round(rng.uniform(0.02, 0.08) * height)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * away + 1, 2 * away + 1))
    around = cv2.dilate(inside, kernel)
    shell = (around > 0) & (cv2.erode(around, np.ones((3, 3), np.uint8)) == 0)
    low = np.arange(height)[:, None] > rng.uniform(0.5, 0.8) * height
    held = np.where(shell & low, rng.uniform(-300, 200), units)
    foam = (around > 0) & (inside == 0) & low & ~shell
    return np.asarray(np.where(foam, rng.uniform(-1000, -850), held), np.float32)


def _uneven(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """A smooth random field (h, w) around 0, mostly within 1."""
    coarse = rng.normal(0, 1, (6, 6)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)
