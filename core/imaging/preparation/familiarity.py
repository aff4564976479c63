"""What a slice is taken for: MR of a head, upright; one that is turned; one with inverted greys; CT; something else.

A slice is described by what needs no network: which way its edges run, a thumbnail, its shades of grey, and how it ends
at its borders. A perceptron with one hidden layer, whose weights lie beside this module, reads the description. They
are made by ``python -m training input-check``. Both model servers ask this one function, so that a slice that one of
them does not know is not outlined by the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from core.imaging.preparation.frame import Box

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

KINDS: Final = ("familiar", "turned_left", "upside_down", "turned_right", "inverted", "ct", "other")
"""What a slice can be taken for, in the order of the perceptron's outputs."""

WEIGHTS: Final = Path(__file__).with_name("familiarity.npz")

_SIDE: Final = 64
_MARGIN: Final = 0.04
_CELL: Final = 8
# Directions of edges, from dark to bright: all round, as an inverted slice has the opposite ones.
_DIRECTIONS: Final = 8
_THUMBNAIL: Final = 16
_SHADES: Final = 24
_PERCENTILES: Final = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
_CELLS: Final = _SIDE // _CELL
_ANGLES: Final = np.arange(_DIRECTIONS, dtype=np.float32) * np.float32(2 * np.pi / _DIRECTIONS)
_COMPASS: Final = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])


@dataclass(frozen=True, slots=True, eq=False)
class Perceptron:
    """Weights: ``mean`` and ``scale`` (d,) of a description, ``first`` (d, h) and ``second`` (h, k) with their biases.

    ``limits`` (2,) are of ``doubt_of``: from where a slice is strange, and where it is no longer familiar.
    """

    mean: FloatArray
    scale: FloatArray
    first: FloatArray
    first_bias: FloatArray
    second: FloatArray
    second_bias: FloatArray
    limits: FloatArray

    def __call__(self, description: FloatArray) -> FloatArray:
        """Log odds (..., k) of the kinds, up to a constant, for descriptions (..., d)."""
        hidden = np.maximum((description - self.mean) / self.scale @ self.first + self.first_bias, np.float32(0.0))
        return np.asarray(hidden @ self.second + self.second_bias, np.float32)


def describe(content: FloatArray, head: Box) -> FloatArray:
    """The description (d,) of a slice without its border (h, w) in [0, 1], whose head lies in ``head``."""
    crop = _square(content, head)
    low, high = _ends(crop)
    grey = np.clip((crop - low) * np.float32(1.0 / max(high - low, 1e-6)), 0.0, 1.0)
    levels = cv2.convertScaleAbs(grey, alpha=255.0)
    small = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    shades = np.sqrt(np.bincount((levels.ravel() // (256 // _SHADES + 1)), minlength=_SHADES)[:_SHADES] / levels.size)
    return np.concatenate([_edges(grey), small, shades, _facts(content, head, grey, levels)]).astype(np.float32)


def _edges(grey: FloatArray) -> FloatArray:
    """How much of each cell's edges run each way (cells * cells * directions,), against those of its neighbours."""
    slopes = np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)], axis=2)
    along = np.maximum(slopes @ _COMPASS, np.float32(0.0))
    pixels = along.reshape(_CELLS, _CELL, _CELLS, _CELL, _DIRECTIONS).transpose(1, 3, 0, 2, 4)
    # Pixels of a cell first, and in one piece: over two axes of five, numpy takes three times as long.
    cells = np.ascontiguousarray(pixels).reshape(_CELL * _CELL, _CELLS, _CELLS, _DIRECTIONS).mean(axis=0)
    around = cv2.blur(cells.sum(axis=2), (3, 3), borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.sqrt(cells / (around[:, :, None] + np.float32(0.05))), np.float32).ravel()


def _square(content: FloatArray, head: Box) -> FloatArray:
    """The head in the middle of a square (s, s), black beyond the slice."""
    box = head.grown(round(_MARGIN * head.longer))
    rows, columns = box.longer - box.height, box.longer - box.width
    box = Box(
        box.top - rows // 2, box.left - columns // 2, box.bottom + rows - rows // 2, box.right + columns - columns // 2
    )
    inside = box.common(Box(0, 0, content.shape[0], content.shape[1]))
    scale = _SIDE / box.longer
    size = (max(1, round(inside.width * scale)), max(1, round(inside.height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    shrunk = cv2.resize(inside.of(content), size, interpolation=interpolation)
    square = np.zeros((_SIDE, _SIDE), np.float32)
    top = min(round((inside.top - box.top) * scale), _SIDE - size[1])
    left = min(round((inside.left - box.left) * scale), _SIDE - size[0])
    square[top : top + size[1], left : left + size[0]] = shrunk
    return square


def _ends(crop: FloatArray) -> tuple[float, float]:
    low, high = _ranked(crop, (0.01, 0.995)).tolist()
    return low, high


def _ranked(values: FloatArray, shares: Sequence[float]) -> FloatArray:
    """The values (h, w) below which such ``shares`` of all lie, without sorting them all."""
    ranks = [round(share * (values.size - 1)) for share in shares]
    return np.asarray(np.partition(values.ravel(), ranks)[ranks], np.float32)


def _facts(content: FloatArray, head: Box, grey: FloatArray, levels: ByteArray) -> FloatArray:
    """Numbers about (h, w): its ends of grey, its borders, the head's place, grain, sharpness and symmetry."""
    height, width = content.shape
    borders = [float(edge.mean()) for edge in (grey[:2], grey[-2:], grey[:, :2], grey[:, -2:])]
    corners = [
        float(grey[rows, columns].mean())
        for rows in (slice(8), slice(-8, None))
        for columns in (slice(8), slice(-8, None))
    ]
    ends = _ranked(grey, [percent / 100 for percent in _PERCENTILES])
    smooth = cv2.medianBlur(levels, 3)
    grain = cv2.norm(levels, smooth, cv2.NORM_L1) / levels.size / 255.0
    sharp = cv2.Laplacian(grey, cv2.CV_32F)
    spread = float(grey.std()) + 1e-3
    centred = grey - float(grey.mean())
    power = float((centred * centred).sum()) + 1e-6
    turned = (centred[:, ::-1], centred[::-1], centred.T, centred[::-1, ::-1])
    likeness = [float((centred * other).sum()) / power for other in turned]
    return np.array(
        [
            *borders, *corners, *sorted(corners), *ends,
            grain / spread, float(np.abs(sharp).mean()) / spread,
            *likeness,
            head.height / head.width, head.height / height, head.width / width, height / width,
            *(np.count_nonzero(region) / levels.size for region in (levels > 30, levels < 3, levels > 252)),
        ],
        np.float32,
    )  # fmt: skip


def doubt_of(odds: FloatArray) -> float:
    """How much speaks against a familiar slice: the log odds (k,) of all other kinds together against it."""
    highest = float(odds[1:].max())
    return highest + math.log(float(np.exp(odds[1:] - np.float32(highest)).sum())) - float(odds[0])


@cache
def perceptron(path: Path = WEIGHTS) -> Perceptron:
    """The weights that ship, read once; half precision on disk."""
    with np.load(path) as stored:
        return Perceptron(**{name: stored[name].astype(np.float32) for name in stored.files})
