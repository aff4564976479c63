"""The one preprocessing: training builds its data with it, serving prepares requests with it.

Both tasks find the head, cut it out with the model's margin, pad it square with black, resize it to the model's size
and stretch the grey values between two percentiles of the head, or over all of their range. A ``Placement`` remembers
where the square came from, so that a probability map can be laid back over the original pixels.

Everything is numpy and OpenCV on float32; nothing here keeps state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from core.errors import InconsistentGeometry, InvalidRequest, MissingSequence
from core.imaging.preparation.copies import find_copies
from core.imaging.preparation.frame import Box, find_content

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
class Placement:
    """How a model square sits in the original slice.

    ``shape`` is the original (h, w). The square shows ``box``, centred, black where the box is not square. The box may
    reach beyond ``content``, the part of the slice inside its border: there the square is black, too.
    """

    shape: tuple[int, int]
    box: Box
    content: Box

    @property
    def side(self) -> int:
        """Side of the square in original pixels."""
        return self.box.longer

    @property
    def shown(self) -> Box:
        """The part of the slice that is seen in the square."""
        return self.content.common(self.box)

    @property
    def offset(self) -> tuple[int, int]:
        """(row, column) of what is shown inside the square, in original pixels."""
        row, column = (self.side - self.box.height) // 2, (self.side - self.box.width) // 2
        return row + self.shown.top - self.box.top, column + self.shown.left - self.box.left

    def cut(self, pixels: FloatArray, size: int, padding: float = 0.0) -> FloatArray:
        """The model square (size, size) of an original (h, w), padded with ``padding``.

        Shrinks by area averaging and enlarges linearly, so that neither aliases nor blocks appear.
        """
        shown = self.shown
        inside = shown.of(pixels)
        # Only the rim of padding is filled: to fill the whole square first takes as long as to shrink it.
        rows, columns = self.side - shown.height, self.side - shown.width
        if rows or columns:
            row, column = self.offset
            rim = (row, rows - row, column, columns - column)
            inside = np.asarray(cv2.copyMakeBorder(inside, *rim, cv2.BORDER_CONSTANT, value=padding), np.float32)
        return _resized(inside, size)

    def restore(self, values: FloatArray) -> FloatArray:
        """A square map (s, s) over the model square, of any side s, laid back over the original (h, w).

        Linear interpolation; 0 outside what the square shows of it. Pixel centres keep their place: the map is neither
        flipped nor shifted, whatever the parities of the sizes.
        """
        square = cv2.resize(np.asarray(values, np.float32), (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        row, column = self.offset
        shown = self.shown
        original = np.zeros(self.shape, np.float32)
        shown.of(original)[:] = square[row : row + shown.height, column : column + shown.width]
        return original


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """A slice without its border: where its ``content`` lies, the ``pixels`` (h, w) inside, and the ``head`` there.

    ``thumbnail`` is of the pixels inside, see ``make_thumbnail``.
    """

    shape: tuple[int, int]
    content: Box
    pixels: FloatArray
    thumbnail: FloatArray
    head: Box

    @classmethod
    def of(cls, pixels: FloatArray) -> Framed:
        """Looks for border and head of a slice (h, w) in [0, 1]."""
        content = find_content(pixels)
        inside = content.of(pixels)
        thumbnail = make_thumbnail(inside)
        head = _head_in(thumbnail, (inside.shape[0], inside.shape[1]))
        return cls((pixels.shape[0], pixels.shape[1]), content, inside, thumbnail, head)

    def place(self, box: Box) -> Placement:
        """A ``box`` of the pixels inside, in the whole slice."""
        return Placement(self.shape, box.moved(self.content.top, self.content.left), self.content)


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


def find_head(pixels: FloatArray) -> Box:
    """Bounding box of the head in a slice (h, w) without border (``find_content``).

    The whole slice when nothing in it is large and bright enough to be a head.
    """
    return _head_in(make_thumbnail(pixels), (pixels.shape[0], pixels.shape[1]))


def _head_in(thumbnail: FloatArray, shape: tuple[int, int]) -> Box:
    height, width = shape
    smooth = np.asarray(cv2.blur(thumbnail, (3, 3)), np.float32)
    whole = Box(0, 0, height, width)
    bright = _percentile(smooth.ravel(), _BRIGHT_PERCENTILE)
    if bright <= 0.0:
        return whole
    foreground = (smooth > _HEAD_LEVEL * bright).view(np.uint8)
    count, labels = cv2.connectedComponents(foreground, connectivity=8, ltype=cv2.CV_16U)
    if count < 2:
        return whole
    areas = np.bincount(labels.ravel(), minlength=count)
    areas[0] = 0
    if areas.max() < _SMALLEST_HEAD * foreground.size:
        return whole
    kept = areas >= _REGION_SHARE * areas.max()
    left, top, columns, rows = cv2.boundingRect(kept[labels].view(np.uint8))
    rows_per_cell, columns_per_cell = height / thumbnail.shape[0], width / thumbnail.shape[1]
    return Box(
        int(top * rows_per_cell),
        int(left * columns_per_cell),
        min(height, int(np.ceil((top + rows) * rows_per_cell))),
        min(width, int(np.ceil((left + columns) * columns_per_cell))),
    )


def grey_window(pixels: FloatArray, box: Box, percentiles: tuple[float, float]) -> tuple[float, float]:
    """The grey values at the two percentiles of the head inside ``box``; background does not count."""
    inside = box.of(pixels)
    step = max(1, -(-max(inside.shape) // _SAMPLE_SIDE))
    sample = inside[::step, ::step].ravel()
    head = sample[sample > np.float32(_HEAD_LEVEL * _percentile(sample, _BRIGHT_PERCENTILE))]
    if head.size == 0:
        return 0.0, 0.0
    return _percentile(head, percentiles[0]), _percentile(head, percentiles[1])


def grey_range(pixels: FloatArray, box: Box) -> tuple[float, float]:
    """The darkest and the brightest grey value inside ``box``."""
    inside = box.of(pixels)
    return float(inside.min()), float(inside.max())


def _percentile(values: FloatArray, percent: float) -> float:
    """A percentile of values (n,) in any order, linear between neighbours as ``np.percentile`` has it."""
    place = (values.size - 1) * percent / 100
    below = int(place)
    above = min(below + 1, values.size - 1)
    # Two places need no whole sort, which takes ten times as long.
    ascending = np.partition(values, (below, above))
    return float(ascending[below]) + (float(ascending[above]) - float(ascending[below])) * (place - below)


def _stretched(square: FloatArray, window: tuple[float, float]) -> FloatArray:
    low, high = window
    if high <= low:
        return np.zeros_like(square)
    stretched = (square - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(stretched, 0.0, 1.0), np.float32)


def _square(pixels: FloatArray, placement: Placement, size: int, percentiles: tuple[float, float] | None) -> FloatArray:
    box = placement.shown
    window = grey_range(pixels, box) if percentiles is None else grey_window(pixels, box, percentiles)
    # Padding at the window's low end becomes exactly black and leaves no rim after interpolation.
    return _stretched(placement.cut(pixels, size, padding=window[0]), window)


def prepare_classification(
    pixels: FloatArray, spec: ClassificationPreprocessing, *, framed: Framed | None = None
) -> tuple[FloatArray, Placement]:
    """A grey slice (h, w) in [0, 1] as the classifier's input (1, size, size) in [0, 1], and where it sits.

    What is shown is the same whatever black border the slice has. ``framed`` is the slice without it, if that is known
    already.
    """
    found = Framed.of(pixels) if framed is None else framed
    whole = Box(0, 0, *found.pixels.shape)
    framing = whole.grown(round(spec.border * whole.longer))
    placement = found.place(framing.common(found.head.grown(round(spec.head_margin * found.head.longer))))
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


def _union(boxes: Iterable[Box]) -> Box:
    """The smallest box that holds all of one or more."""
    return reduce(Box.union, boxes)


def prepare_segmentation(
    sequences: Mapping[str, FloatArray],
    spec: SegmentationPreprocessing,
    *,
    framed: Mapping[str, Framed] | None = None,
) -> tuple[FloatArray, Placement]:
    """Grey slices (h, w) in [0, 1] by sequence as the segmenter's input (channels, size, size) in [0, 1].

    Channels follow ``spec.sequences``; an absent sequence is all zeros, and so is one that
    repeats another (``find_copies``). The key ``image`` is one slice of unknown
    sequence and fills every channel. All slices share one grid and one placement. ``framed`` are the slices without
    their borders, if they are known already.

    Raises ``MissingSequence`` for none, ``InvalidRequest`` for an unknown name, ``InconsistentGeometry`` for
    different sizes.
    """
    slices = _by_channel(sequences, spec)
    for name in find_copies(slices, spec.sequences, spec.copy_correlation):
        del slices[name]
    frames = [Framed.of(pixels) if framed is None else framed[name] for name, pixels in slices.items()]
    content = _union(frame.content for frame in frames)
    head = _union(frame.head.moved(frame.content.top, frame.content.left) for frame in frames)
    box = head.grown(round(spec.head_margin * head.longer))
    shape = next(iter(slices.values())).shape
    placement = Placement((shape[0], shape[1]), box, content)
    squares = {name: _square(pixels, placement, spec.size, spec.percentiles) for name, pixels in slices.items()}
    if ANY_SEQUENCE in squares:
        return np.repeat(squares[ANY_SEQUENCE][None], len(spec.sequences), axis=0), placement
    absent = np.zeros((spec.size, spec.size), np.float32)
    return np.stack([squares.get(name, absent) for name in spec.sequences]), placement
