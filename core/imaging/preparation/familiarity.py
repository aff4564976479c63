"""What a slice is taken for: MR of a head, upright; one that is turned; one with inverted greys; CT; something else.

A slice is described by what needs no network: which way its edges run, a thumbnail, its shades of grey, and what lies
how deep below the outline of the head. A perceptron with one hidden layer, whose weights lie beside this module, reads
the description. They are made by ``python -m training input-check``. Both model servers ask this one function, so that
a slice that one of them does not know is not outlined by the other.
"""

from __future__ import annotations

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
_LEVELS: Final = 256
_SHADES: Final = 24
_PERCENTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_CELLS: Final = _SIDE // _CELL
_ANGLES: Final = np.arange(_DIRECTIONS, dtype=np.float32) * np.float32(2 * np.pi / _DIRECTIONS)
_COMPASS: Final = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
# Brighter than this, of 255, is the head; how deep a pixel lies in it is told in so many layers of one pixel each.
_HEAD_LEVEL: Final = 20
_LAYERS: Final = 12
_BRAIN_BEGINS: Final = 8
# The layers are looked at in so many sectors round the middle.
_SECTORS: Final = 8
_FROM_MIDDLE: Final = np.arange(_SIDE, dtype=np.float32) - np.float32((_SIDE - 1) / 2)
_SECTOR: Final = np.floor(
    (np.arctan2(_FROM_MIDDLE[:, None], _FROM_MIDDLE[None, :]) + np.pi) * (_SECTORS / (2 * np.pi)) - 1e-6
).astype(np.int64) % _SECTORS  # fmt: skip
_EDGES: Final = _CELLS * _CELLS * _DIRECTIONS
# So many numbers of a description, the first ones, have a place in the slice; the others stay where it is turned.
_PLACED: Final = _EDGES + _THUMBNAIL * _THUMBNAIL


@dataclass(frozen=True, slots=True, eq=False)
class Perceptron:
    """Weights: ``mean`` and ``scale`` (d,) of a description, ``first`` (d, h) and ``second`` (h, k) with their biases.

    ``limits`` (2,) are of ``doubts_of``: from where a slice is strange, and where it is no longer familiar.
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
    counts = np.bincount(levels.ravel(), minlength=_LEVELS)
    shades = np.sqrt(np.add.reduceat(counts, np.arange(0, _LEVELS, _LEVELS // _SHADES + 1)) / levels.size)
    parts = (_edges(grey), small, shades, _depths(levels, counts), _facts(content, head, grey, levels))
    return np.concatenate(parts).astype(np.float32)


def _edges(grey: FloatArray) -> FloatArray:
    """How much of each cell's edges run each way (cells * cells * directions,), against those of its neighbours."""
    slopes = np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)], axis=2)
    along = np.maximum(slopes @ _COMPASS, np.float32(0.0))
    pixels = along.reshape(_CELLS, _CELL, _CELLS, _CELL, _DIRECTIONS).transpose(1, 3, 0, 2, 4)
    # Pixels of a cell first, and in one piece: over two axes of five, numpy takes three times as long.
    cells = np.ascontiguousarray(pixels).reshape(_CELL * _CELL, _CELLS, _CELLS, _DIRECTIONS).mean(axis=0)
    around = cv2.blur(cells.sum(axis=2), (3, 3), borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.sqrt(cells / (around[:, :, None] + np.float32(0.05))), np.float32).ravel()


def _depths(levels: ByteArray, counts: npt.NDArray[np.int64]) -> FloatArray:
    """How bright the head is in each layer below its outline, sector by sector from the darkest to the brightest.

    A closed bright layer is bone in CT; one that is bright at the very outline is an inverted head that was cut out.
    Percentiles of what lies deeper, and of everything, stand behind.
    """
    bright = (cv2.blur(levels, (3, 3)) > _HEAD_LEVEL).view(np.uint8)
    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # One dark pixel all round, so that what fills the whole square has an outline as well.
    filled = np.zeros((_SIDE + 2, _SIDE + 2), np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED, offset=(1, 1))
    depth = np.minimum(cv2.distanceTransform(filled, cv2.DIST_L1, 3)[1:-1, 1:-1], _LAYERS).astype(np.int64)
    places = (depth * _SECTORS + _SECTOR).ravel()
    size = (_LAYERS + 1) * _SECTORS
    held = np.maximum(np.bincount(places, minlength=size), 1)
    means = np.bincount(places, weights=levels.ravel(), minlength=size) / (held * 255.0)
    layers = np.sort(means.reshape(_LAYERS + 1, _SECTORS), axis=1).ravel()
    deep = np.bincount(levels[depth >= _BRAIN_BEGINS], minlength=_LEVELS)
    inside = float(np.mean(depth > 0))
    lit = float(bright.mean()) / max(inside, 1e-3)
    return np.concatenate([layers, _percentiles(deep), _percentiles(counts), [inside, lit]]).astype(np.float32)


def _percentiles(counts: npt.NDArray[np.int64]) -> FloatArray:
    """Greys in [0, 1] below which certain shares of what was counted, level by level, lie; 0 of nothing."""
    reached = np.cumsum(counts)
    found = np.searchsorted(reached, np.asarray(_PERCENTILES) * reached[-1])
    return np.asarray(np.minimum(found, _LEVELS - 1) / 255.0 * bool(reached[-1]), np.float32)


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
    """The greys below which 0.01 and 0.995 of all lie, without sorting them all."""
    ranks = [round(share * (crop.size - 1)) for share in (0.01, 0.995)]
    low, high = np.partition(crop.ravel(), ranks)[ranks].tolist()
    return low, high


def _facts(content: FloatArray, head: Box, grey: FloatArray, levels: ByteArray) -> FloatArray:
    """Numbers about (h, w) that do not change where it is turned: grain, sharpness, rim and shape."""
    height, width = content.shape
    rims = sorted(float(edge.mean()) for edge in (grey[:2], grey[-2:], grey[:, :2], grey[:, -2:]))
    ends = (slice(8), slice(-8, None))
    corners = sorted(float(grey[rows, columns].mean()) for rows in ends for columns in ends)
    grain = cv2.norm(levels, cv2.medianBlur(levels, 3), cv2.NORM_L1) / levels.size / 255.0
    sharp = float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())
    spread = float(grey.std())
    shares = sorted((head.height / height, head.width / width))
    shape = min(head.height, head.width) / max(head.height, head.width), min(height, width) / max(height, width)
    facts = [*rims, *corners, grain / (spread + 1e-3), sharp / (spread + 1e-3), spread, *shares, *shape]
    return np.array(facts, np.float32)


@cache
def _turned_places(turns: int) -> npt.NDArray[np.int64]:
    """Where the placed numbers of a description stand in that of the slice turned, (``_PLACED``,)."""
    edges = np.arange(_EDGES).reshape(_CELLS, _CELLS, _DIRECTIONS)
    small = _EDGES + np.arange(_THUMBNAIL**2).reshape(_THUMBNAIL, _THUMBNAIL)
    directions = (np.arange(_DIRECTIONS) + turns * _DIRECTIONS // 4) % _DIRECTIONS
    parts = np.rot90(edges, turns, axes=(0, 1))[:, :, directions], np.rot90(small, turns)
    return np.concatenate([part.ravel() for part in parts])


def turned(description: FloatArray, turns: int) -> FloatArray:
    """The description (..., d) of the same slice turned to the left by so many quarters; nothing is looked at anew."""
    placed = description[..., _turned_places(turns % 4)]
    return np.concatenate([placed, description[..., _PLACED:]], axis=-1)


def doubts_of(odds: FloatArray) -> FloatArray:
    """How much speaks against a familiar slice (...): the log odds (..., k) of all other kinds together against it."""
    others = odds[..., 1:].astype(np.float64)
    return np.asarray(np.logaddexp.reduce(others, axis=-1) - odds[..., 0], np.float32)


@cache
def perceptron(path: Path = WEIGHTS) -> Perceptron:
    """The weights that ship, read once; half precision on disk."""
    with np.load(path) as stored:
        return Perceptron(**{name: stored[name].astype(np.float32) for name in stored.files})
