"""The one preprocessing: training builds its data with it, serving prepares requests with it.

Both tasks find the head, cut it out with the model's margin, pad it square with black, resize it to the model's size
and stretch the grey values between two percentiles of the head, or over all of their range. A ``Placement`` remembers
where the square came from, so that a probability map can be laid back over the original pixels.

Everything is numpy and OpenCV on float32; nothing here keeps state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from core.errors import InconsistentGeometry, InvalidRequest, MissingSequence
from core.imaging.preparation.copies import find_copies

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

ANY_SEQUENCE: Final = "image"
"""Key of a single grey upload whose sequence is unknown: it fills every channel."""

# The head is looked for on a thumbnail: fast, and small bright marks (letters, rulers) vanish in the mean.
THUMBNAIL_SIDE: Final = 128
# Percentiles are read from at most this many pixels a side; more does not move them measurably.
_SAMPLE_SIDE: Final = 256
# A pixel belongs to the head when it is brighter than this share of the slice's own bright end ...
_HEAD_LEVEL: Final = 0.12
_BRIGHT_PERCENTILE: Final = 99.0
# ... and a region counts when it holds at least this share of the largest region's pixels.
_REGION_SHARE: Final = 0.2
# A head smaller than this share of the slice is not believed: the whole slice is used.
_SMALLEST_HEAD: Final = 0.02


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels: rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def grown(self, share: float, shape: tuple[int, int]) -> Box:
        """The box with a ``share`` of the longer side more all round, cut at the edges of a slice of ``shape``."""
        margin = round(share * max(shape))
        return Box(
            max(0, self.top - margin),
            max(0, self.left - margin),
            min(shape[0], self.bottom + margin),
            min(shape[1], self.right + margin),
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """How a model square sits in the original slice.

    ``shape`` is the original (h, w). ``box`` is the part of it that the square shows, centred, with black
    padding where the box is not square; ``side`` is the square's side in original pixels.
    """

    shape: tuple[int, int]
    box: Box

    @property
    def side(self) -> int:
        """Side of the square in original pixels."""
        return max(self.box.height, self.box.width)

    @property
    def offset(self) -> tuple[int, int]:
        """(row, column) of the box inside the square, in original pixels."""
        return (self.side - self.box.height) // 2, (self.side - self.box.width) // 2

    def cut(self, pixels: FloatArray, size: int, padding: float = 0.0) -> FloatArray:
        """The model square (size, size) of an original (h, w), padded with ``padding``.

        Shrinks by area averaging and enlarges linearly, so that neither aliases nor blocks appear.
        """
        box = self.box
        inside = pixels[box.top : box.bottom, box.left : box.right]
        # Only the rim of padding is filled: to fill the whole square first takes as long as to shrink it.
        rows, columns = self.side - box.height, self.side - box.width
        if rows or columns:
            row, column = self.offset
            rim = (row, rows - row, column, columns - column)
            inside = np.asarray(cv2.copyMakeBorder(inside, *rim, cv2.BORDER_CONSTANT, value=padding), np.float32)
        return _resized(inside, size)

    def restore(self, values: FloatArray) -> FloatArray:
        """A square map (s, s) over the model square, of any side s, laid back over the original (h, w).

        Linear interpolation; 0 outside the box. Pixel centres keep their place: the map is neither
        flipped nor shifted, whatever the parities of the sizes.
        """
        square = cv2.resize(np.asarray(values, np.float32), (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        row, column = self.offset
        box = self.box
        original = np.zeros(self.shape, np.float32)
        original[box.top : box.bottom, box.left : box.right] = square[
            row : row + box.height, column : column + box.width
        ]
        return original


def _resized(square: FloatArray, size: int) -> FloatArray:
    if square.shape == (size, size):
        return square
    interpolation = cv2.INTER_AREA if size < square.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=interpolation), np.float32)


def make_thumbnail(pixels: FloatArray) -> FloatArray:
    """A slice (h, w) shrunk to a longest side of ``THUMBNAIL_SIDE``; smaller ones stay as they are."""
    height, width = pixels.shape
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def find_head(pixels: FloatArray, margin: float = 0.02, *, small: FloatArray | None = None) -> Box:
    """Bounding box of the head in a slice (h, w), ``margin`` (share of the longer side) added.

    The whole slice when nothing in it is large and bright enough to be a head. ``small`` is its thumbnail, if there is
    one already.
    """
    height, width = pixels.shape
    thumbnail = cv2.blur(make_thumbnail(pixels) if small is None else small, (3, 3))
    whole = Box(0, 0, height, width)
    bright = _percentile(np.sort(thumbnail, axis=None), _BRIGHT_PERCENTILE)
    if bright <= 0.0:
        return whole
    foreground = (thumbnail > _HEAD_LEVEL * bright).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    if count < 2:
        return whole
    regions = stats[1:]
    areas = regions[:, cv2.CC_STAT_AREA]
    if areas.max() < _SMALLEST_HEAD * foreground.size:
        return whole
    kept = regions[areas >= _REGION_SHARE * areas.max()]
    left, top = kept[:, cv2.CC_STAT_LEFT].min(), kept[:, cv2.CC_STAT_TOP].min()
    right = (kept[:, cv2.CC_STAT_LEFT] + kept[:, cv2.CC_STAT_WIDTH]).max()
    bottom = (kept[:, cv2.CC_STAT_TOP] + kept[:, cv2.CC_STAT_HEIGHT]).max()
    rows_per_cell, columns_per_cell = height / thumbnail.shape[0], width / thumbnail.shape[1]
    box = Box(
        int(top * rows_per_cell),
        int(left * columns_per_cell),
        min(height, int(np.ceil(bottom * rows_per_cell))),
        min(width, int(np.ceil(right * columns_per_cell))),
    )
    return box.grown(margin, (height, width))


def grey_window(pixels: FloatArray, box: Box, percentiles: tuple[float, float]) -> tuple[float, float]:
    """The grey values at the two percentiles of the head inside ``box``; background does not count."""
    inside = pixels[box.top : box.bottom, box.left : box.right]
    step = max(1, -(-max(inside.shape) // _SAMPLE_SIDE))
    # Sorted once: all percentiles are then read off, and the head is what lies above its level.
    sample = np.sort(inside[::step, ::step], axis=None)
    level = np.float32(_HEAD_LEVEL * _percentile(sample, _BRIGHT_PERCENTILE))
    head = sample[np.searchsorted(sample, level, side="right") :]
    if head.size == 0:
        return 0.0, 0.0
    return _percentile(head, percentiles[0]), _percentile(head, percentiles[1])


def grey_range(pixels: FloatArray, box: Box) -> tuple[float, float]:
    """The darkest and the brightest grey value inside ``box``."""
    inside = pixels[box.top : box.bottom, box.left : box.right]
    return float(inside.min()), float(inside.max())


def _percentile(ascending: FloatArray, percent: float) -> float:
    """A percentile of sorted values (n,), linear between neighbours as ``np.percentile`` has it."""
    place = (ascending.size - 1) * percent / 100
    below = int(place)
    above = min(below + 1, ascending.size - 1)
    return float(ascending[below]) + (float(ascending[above]) - float(ascending[below])) * (place - below)


def _stretched(square: FloatArray, window: tuple[float, float]) -> FloatArray:
    low, high = window
    if high <= low:
        return np.zeros_like(square)
    stretched = (square - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(stretched, 0.0, 1.0), np.float32)


def _square(pixels: FloatArray, placement: Placement, size: int, percentiles: tuple[float, float] | None) -> FloatArray:
    box = placement.box
    window = grey_range(pixels, box) if percentiles is None else grey_window(pixels, box, percentiles)
    # Padding at the window's low end becomes exactly black and leaves no rim after interpolation.
    return _stretched(placement.cut(pixels, size, padding=window[0]), window)


def prepare_classification(
    pixels: FloatArray, spec: ClassificationPreprocessing, *, head: Box | None = None
) -> tuple[FloatArray, Placement]:
    """A grey slice (h, w) in [0, 1] as the classifier's input (1, size, size) in [0, 1], and where it sits.

    ``head`` is what ``find_head`` finds without a margin, if that is known already.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    found = find_head(pixels, margin=0.0) if head is None else head
    placement = Placement(shape, found.grown(spec.head_margin, shape))
    return _square(pixels, placement, spec.size, spec.percentiles)[None], placement


def _by_channel(sequences: Mapping[str, FloatArray], spec: SegmentationPreprocessing) -> dict[str, FloatArray]:
    """The given slices under the model's channel names; raises where they do not fit together."""
    if not sequences:
        raise MissingSequence(f"at least one of {', '.join(spec.sequences)} is needed")
    if ANY_SEQUENCE in sequences and len(sequences) > 1:
        raise InvalidRequest(f"{ANY_SEQUENCE!r} stands for one slice of unknown sequence and comes alone")
    unknown = sorted(set(sequences) - {ANY_SEQUENCE, *spec.sequences})
    if unknown:
        raise InvalidRequest(f"unknown sequence {', '.join(unknown)}: this model takes {', '.join(spec.sequences)}")
    if len({pixels.shape for pixels in sequences.values()}) > 1:
        sizes = ", ".join(f"{name} {p.shape[1]}x{p.shape[0]}" for name, p in sorted(sequences.items()))
        raise InconsistentGeometry(f"all sequences must have one size, got {sizes}")
    return dict(sequences)


def prepare_segmentation(
    sequences: Mapping[str, FloatArray], spec: SegmentationPreprocessing
) -> tuple[FloatArray, Placement]:
    """Grey slices (h, w) in [0, 1] by sequence as the segmenter's input (channels, size, size) in [0, 1].

    Channels follow ``spec.sequences``; an absent sequence is all zeros, and so is one that
    repeats another (``find_copies``). The key ``image`` is one slice of unknown
    sequence and fills every channel. All slices share one grid and one placement.

    Raises ``MissingSequence`` for none, ``InvalidRequest`` for an unknown name, ``InconsistentGeometry`` for
    different sizes.
    """
    slices = _by_channel(sequences, spec)
    for name in find_copies(slices, spec.sequences, spec.copy_correlation):
        del slices[name]
    boxes = [find_head(pixels, spec.head_margin) for pixels in slices.values()]
    box = boxes[0]
    for other in boxes[1:]:
        box = box.union(other)
    shape = next(iter(slices.values())).shape
    placement = Placement((shape[0], shape[1]), box)
    squares = {name: _square(pixels, placement, spec.size, spec.percentiles) for name, pixels in slices.items()}
    if ANY_SEQUENCE in squares:
        return np.repeat(squares[ANY_SEQUENCE][None], len(spec.sequences), axis=0), placement
    absent = np.zeros((spec.size, spec.size), np.float32)
    return np.stack([squares.get(name, absent) for name in spec.sequences]), placement
