"""Where a slice ends and a border begins that somebody put round it: bars of 16:9, a black margin, a screenshot's rim.

Such a border is dark from end to end, whatever its width, so it is found from outside by the level of grey alone. What
is left is the same with and without a border, and all that follows, the search for the head first, looks at that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# The mean of so many pixels a side counts, so that the noise of JPEG in a border does not.
_NEIGHBOURHOOD: Final = 5
# A border is at most so bright, as a share of the brightest pixel: 6 of 255 and a half.
_DARK: Final = 0.026
# Fewer rows or columns than that are no slice: then nothing is cut.
_SMALLEST_SIDE: Final = 16


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

    @property
    def longer(self) -> int:
        """The longer side in pixels."""
        return max(self.height, self.width)

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def common(self, other: Box) -> Box:
        """The part that both hold; one of no pixels, at the edge of this one, where there is none."""
        top, left = min(max(self.top, other.top), self.bottom), min(max(self.left, other.left), self.right)
        return Box(top, left, max(top, min(self.bottom, other.bottom)), max(left, min(self.right, other.right)))

    def grown(self, pixels: int) -> Box:
        """The box with so many ``pixels`` more all round, wherever the slice ends."""
        return Box(self.top - pixels, self.left - pixels, self.bottom + pixels, self.right + pixels)

    def moved(self, rows: int, columns: int) -> Box:
        """The box so many ``rows`` further down and ``columns`` further right."""
        return Box(self.top + rows, self.left + columns, self.bottom + rows, self.right + columns)

    def of(self, pixels: FloatArray) -> FloatArray:
        """The part of ``pixels`` (h, w) inside, a view."""
        return pixels[self.top : self.bottom, self.left : self.right]


def find_content(pixels: FloatArray) -> Box:
    """The part of a slice (h, w) in [0, 1] inside its dark border; the whole of one that is dark all over."""
    height, width = pixels.shape
    level = _DARK * cv2.minMaxLoc(pixels)[1]
    side = (_NEIGHBOURHOOD, _NEIGHBOURHOOD)
    smooth = cv2.boxFilter(pixels, cv2.CV_32F, side, borderType=cv2.BORDER_CONSTANT)
    # A pixel counts where it is bright itself, too: else the mean would carry the slice into its border.
    bright = cv2.min(smooth, np.ascontiguousarray(pixels))
    # OpenCV takes fifteen times as long over rows.
    rows = np.flatnonzero(np.max(bright, axis=1) > level)
    columns = np.flatnonzero(np.max(bright, axis=0) > level)
    if rows.size < _SMALLEST_SIDE or columns.size < _SMALLEST_SIDE:
        return Box(0, 0, height, width)
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
