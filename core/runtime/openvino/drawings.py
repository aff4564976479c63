"""Drawn slices: what providers are compared on. Nothing in them comes from a patient.

A slice is a head in a square as a network is shown it: skull, brain with folds and ventricles, in most of them a
lesion, noise. Each is drawn from its number alone, so that it is the same everywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_SEED = 20_261_130
# Of ten slices, how many hold a lesion, show one sequence alone, or lack a sequence.
_LESIONS, _ALONE, _LACKING = 8, 3, 2
# Roughly, as T1, T1 after contrast, T2 and FLAIR show them: brain, fluid, and what a lesion and its core add.
_CONTRASTS = ((0.5, 0.15, -0.15, -0.1), (0.45, 0.12, -0.05, 0.45), (0.4, 0.9, 0.35, 0.1), (0.4, 0.1, 0.45, -0.05))


def draw_slice(number: int, channels: int, size: int) -> FloatArray:
    """Slice ``number`` (channels, size, size) in [0, 1]; channels are sequences, or one of them in every channel."""
    rng = np.random.default_rng((_SEED, number))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    turn = rng.uniform(-0.3, 0.3)
    x, y = x * np.cos(turn) - y * np.sin(turn) + rng.uniform(-0.08, 0.08), x * np.sin(turn) + y * np.cos(turn)
    head = np.hypot(x / rng.uniform(0.62, 0.8), y / rng.uniform(0.75, 0.92))
    brain = _inside(head, 0.86)
    skull = _inside(head, 1.0) - _inside(head, 0.92)
    side = rng.uniform(0.1, 0.18)
    ventricles = _inside(np.hypot((np.abs(x) - side) / 0.09, y / rng.uniform(0.2, 0.35)), 1.0)
    folds = _clouds(rng, size, 14)
    lesion, core = _draw_lesion(rng, x, y, size) if rng.integers(10) < _LESIONS else (np.zeros_like(x),) * 2
    planes: list[FloatArray] = []
    for place in range(channels):
        contrast = _CONTRASTS[place % 4 if channels > 1 else rng.integers(4)]
        grey, fluid, bright, centre = np.array(contrast) * rng.uniform(0.8, 1.2, 4)
        plane = brain * (grey + 0.2 * (folds - 0.5)) * (1 - ventricles) + brain * ventricles * fluid
        plane += skull * rng.uniform(0.4, 1.0) + brain * (lesion * bright + core * centre)
        plane *= 1 + 0.2 * (_clouds(rng, size, 2) - 0.5)
        planes.append(np.clip(plane + rng.normal(0, 0.015, plane.shape), 0, 1))
    if rng.integers(10) < _ALONE:
        planes = planes[:1] * channels
    elif channels > 1 and rng.integers(10) < _LACKING:
        planes[rng.integers(channels)][:] = 0
    return np.stack(planes).astype(np.float32, copy=False)


def _draw_lesion(rng: np.random.Generator, x: FloatArray, y: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    """An uneven blob somewhere in the brain, and its core."""
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.45)
    away = np.hypot(x - distance * np.cos(angle), y - distance * np.sin(angle))
    radius = rng.uniform(0.12, 0.35) * (0.7 + 0.6 * _clouds(rng, size, 6))
    return _inside(away / radius, 1.0), _inside(away / radius, rng.uniform(0.3, 0.8))


def _inside(distance: FloatArray, edge: float) -> FloatArray:
    """1 where ``distance`` is below ``edge``, 0 outside, with a soft rim."""
    return np.asarray(np.clip((edge - distance) * 25 + 0.5, 0, 1))


def _clouds(rng: np.random.Generator, size: int, cells: int) -> FloatArray:
    """Smooth noise (size, size) in [0, 1]: random values on a grid of ``cells``, linear in between."""
    grid = rng.random((cells + 1, cells + 1))
    at = np.linspace(0, cells, size)
    rows = np.stack([np.interp(at, np.arange(cells + 1), row) for row in grid])
    return np.stack([np.interp(at, np.arange(cells + 1), column) for column in rows.T], axis=1)
