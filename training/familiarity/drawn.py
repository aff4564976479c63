"""Drawn pictures, which the perceptron must not accept: phantoms, test cards, heads of ellipses.

People who have no patient's image at hand try a service with such drawings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from training.data.archives import FloatArray

# Of the Shepp-Logan phantom in its form of higher contrast: grey, half axes, centre, angle in degrees.
_SHEPP_LOGAN: Final = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)


def _plane(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Rows and columns (h, w) of a picture of any size, from -1 to 1."""
    height, width = (int(side) for side in rng.integers(96, 320, 2))
    if rng.random() < 0.7:
        width = height
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (y / height - 0.5) * 2, (x / width - 0.5) * 2


def ellipse_head(rng: np.random.Generator) -> FloatArray:
    """An axial head of ellipses (h, w): scalp, a dark skull, a brain with texture, ventricles, often a blob or ring."""
    v, u = _plane(rng)
    radius = np.hypot(u / rng.uniform(0.62, 0.9), v / rng.uniform(0.75, 0.95))
    level = rng.uniform(0.3, 0.6)
    grey = np.where(radius < 1.0, rng.uniform(0.4, 0.9), 0.0)
    grey[radius < rng.uniform(0.9, 0.96)] = rng.uniform(0.0, 0.25)
    brain = radius < 0.88
    waves = np.sin(rng.uniform(6, 14) * u + rng.uniform(0, 6)) * np.cos(rng.uniform(6, 14) * v - rng.uniform(0, 6))
    grey[brain] = (level + rng.uniform(0.0, 0.12) * waves)[brain]
    apart, wide, long = rng.uniform(0.09, 0.16), rng.uniform(0.05, 0.1), rng.uniform(0.15, 0.35)
    for side in (-1, 1):
        grey[np.hypot((u - side * apart) / wide, v / long) < 1] = rng.uniform(0.05, 0.2)
    away, size, angle = rng.uniform(0.2, 0.5), rng.uniform(0.07, 0.25), rng.uniform(0, 2 * np.pi)
    distance = np.hypot(u - away * np.cos(angle), v - away * np.sin(angle)) / size
    if rng.random() < 0.4:
        grey += rng.uniform(0.2, 0.6) * np.exp(-1.5 * distance**2) * brain
    elif rng.random() < 0.6:
        grey += (0.4 * np.exp(-(((distance - 0.6) / 0.15) ** 2)) - 0.3 * (distance < 0.45)) * brain
    grey += rng.normal(0, rng.uniform(0.004, 0.03), grey.shape) * (radius < 1.0)
    return _finished(grey, rng)


def nested_ellipses(rng: np.random.Generator) -> FloatArray:
    """Like the phantom of Shepp and Logan: a bright rim, and ellipses of few greys in it."""
    v, u = _plane(rng)
    outer = np.hypot(u / rng.uniform(0.55, 0.95), v / rng.uniform(0.7, 0.95))
    rim = rng.uniform(0.85, 0.97)
    inside, shell = rng.uniform(0.1, 0.5), rng.uniform(0.5, 1.0)
    grey = np.where(outer < 1, shell, 0.0)
    grey[outer < rim] = inside
    for _ in range(int(rng.integers(2, 12))):
        x, y, turn = rng.uniform(-0.5, 0.5), rng.uniform(-0.6, 0.6), rng.uniform(0, np.pi)
        along = (u - x) * np.cos(turn) + (v - y) * np.sin(turn)
        across = (v - y) * np.cos(turn) - (u - x) * np.sin(turn)
        spot = np.hypot(along / rng.uniform(0.03, 0.35), across / rng.uniform(0.03, 0.35)) < 1
        grey[spot & (outer < rim)] += rng.uniform(-0.4, 0.4)
    return _finished(grey, rng)


def rings(rng: np.random.Generator) -> FloatArray:
    """Concentric rings, sharp or soft."""
    v, u = _plane(rng)
    distance = np.hypot(u, v * rng.uniform(0.8, 1.2))
    wave = 0.5 + 0.5 * np.cos(distance * rng.uniform(4, 40) + rng.uniform(0, 6))
    grey = wave if rng.random() < 0.5 else (wave > rng.uniform(0.3, 0.7)).astype(np.float32)
    return _finished(np.asarray(grey * (distance < rng.uniform(0.6, 1.3)), np.float32), rng)


def bars(rng: np.random.Generator) -> FloatArray:
    """Bars, steps of grey and gratings, as test cards have them."""
    v, u = _plane(rng)
    turn = rng.uniform(0, np.pi)
    along = u * np.cos(turn) + v * np.sin(turn)
    steps = float(rng.integers(3, 20))
    grey = np.floor((along + 1.5) * steps / 3) / steps if rng.random() < 0.5 else 0.5 + 0.5 * np.sin(along * steps * 3)
    frame = np.maximum(np.abs(u), np.abs(v)) < rng.uniform(0.5, 1.1)
    return _finished(np.asarray(grey * frame, np.float32), rng)


def grid(rng: np.random.Generator) -> FloatArray:
    """A grid of lines or a chessboard, often in a disc."""
    v, u = _plane(rng)
    count, thick = rng.uniform(3, 15), rng.uniform(0.1, 0.5)
    lines = (np.mod(u * count, 1) < thick) | (np.mod(v * count, 1) < thick)
    board = np.mod(np.floor(u * count) + np.floor(v * count), 2) > 0
    grey = np.where(lines if rng.random() < 0.5 else board, rng.uniform(0.5, 1), rng.uniform(0, 0.4))
    disc = np.hypot(u, v) < rng.uniform(0.5, 0.95)
    return _finished(np.asarray(grey * (disc if rng.random() < 0.6 else 1.0), np.float32), rng)


def inserts(rng: np.random.Generator) -> FloatArray:
    """A filled disc with round holes in it, as phantoms for quality assurance show."""
    v, u = _plane(rng)
    size = rng.uniform(0.6, 0.95)
    grey = np.where(np.hypot(u, v) < size, rng.uniform(0.4, 0.9), 0.0)
    for turn in np.linspace(0, 2 * np.pi, int(rng.integers(3, 12)), endpoint=False) + rng.uniform(0, 1):
        hole = np.hypot(u - 0.6 * size * np.cos(turn), v - 0.6 * size * np.sin(turn)) < rng.uniform(0.04, 0.15)
        grey[hole] = rng.uniform(0, 1)
    return _finished(grey, rng)


def shepp_logan(rng: np.random.Generator) -> FloatArray:
    """The phantom of Shepp and Logan itself, with some noise."""
    v, u = _plane(rng)
    grey = np.zeros_like(u)
    for value, wide, long, x, y, degrees in _SHEPP_LOGAN:
        turn = np.deg2rad(degrees)
        along = (u - x) * np.cos(turn) - (v + y) * np.sin(turn)
        across = (v + y) * np.cos(turn) + (u - x) * np.sin(turn)
        grey += np.float32(value) * (np.hypot(along / wide, across / long) < 1)
    return _finished(grey, rng)


def star(rng: np.random.Generator) -> FloatArray:
    """A star of wedges in a disc, which shows how sharp an image is."""
    v, u = _plane(rng)
    wedges = np.sin(np.arctan2(v, u) * float(rng.integers(4, 36))) > 0
    return _finished(np.asarray(wedges * (np.hypot(u, v) < rng.uniform(0.6, 0.95)), np.float32), rng)


def spheres(rng: np.random.Generator) -> FloatArray:
    """Soft bright balls in rows, in a round bottle of water."""
    v, u = _plane(rng)
    apart = rng.uniform(0.15, 0.4)
    cell = np.hypot(np.mod(u, apart) - apart / 2, np.mod(v, apart) - apart / 2) / apart
    grey = rng.uniform(0.1, 0.5) + 0.6 * np.exp(-((cell / 0.25) ** 2))
    return _finished(np.asarray(grey * (np.hypot(u, v) < rng.uniform(0.6, 0.95)), np.float32), rng)


Drawing = Callable[[np.random.Generator], FloatArray]
LEARNT: Final[Mapping[str, Drawing]] = {
    "ellipse head": ellipse_head,
    "nested ellipses": nested_ellipses,
    "rings": rings,
    "bars": bars,
    "grid": grid,
    "inserts": inserts,
}
JUDGED: Final[Mapping[str, Drawing]] = {"shepp-logan": shepp_logan, "star": star, "spheres": spheres}
"""Kinds that are never learnt from."""


def _finished(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """In [0, 1], not always up to white, now and then with noise all over."""
    seen = np.clip(grey, 0, 1) * rng.uniform(0.5, 1.0)
    if rng.random() < 0.5:
        seen = np.hypot(seen + rng.normal(0, rng.uniform(0, 0.03), seen.shape), rng.normal(0, 0.01, seen.shape))
    return np.asarray(np.clip(seen, 0, 1), np.float32)
