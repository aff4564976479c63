"""From a probability map to a mask and the numbers that describe it.

A mask is a bool array (h, w) in the uploaded image's own pixels. Points and boxes are whole pixels with x to
the right, y down and the origin at the centre of the upper left pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from core.contracts.segmentation import CocoRle

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

Contour = tuple[tuple[int, int], ...]
BoundingBox = tuple[int, int, int, int]


def threshold_mask(probability: FloatArray, threshold: float) -> BoolArray:
    """Pixels of a probability map (h, w) that lie above ``threshold``."""
    return probability > np.float32(threshold)


def count_pixels(mask: BoolArray) -> int:
    """Tumour pixels in the mask."""
    return int(np.count_nonzero(mask))


def encode_rle(mask: BoolArray) -> CocoRle:
    """COCO's compressed run-length encoding; the runs go down the columns, as its readers expect."""
    encoded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    height, width = mask.shape
    return CocoRle(size=(height, width), counts=encoded["counts"].decode("ascii"))


def trace_contours(mask: BoolArray) -> tuple[Contour, ...]:
    """Closed outlines of every region and of every hole in it, as (x, y) points on the region's own border pixels.

    Outlines of regions run counter-clockwise as seen on a screen, outlines of holes clockwise. Filling them all
    together by the even-odd rule, borders included, gives the mask back exactly. Straight runs are stored as
    their end points.
    """
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(tuple((x, y) for x, y in outline[:, 0, :].tolist()) for outline in outlines)


def find_bounding_box(mask: BoolArray) -> BoundingBox | None:
    """(x, y, width, height) of the smallest box that holds every tumour pixel, None for an empty mask."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (int(x), int(y), int(width), int(height)) if width else None


def measure_area_mm2(tumor_pixels: int, spacing_mm: tuple[float, float] | None) -> float | None:
    """Area in square millimetres from the (row, column) spacing; None where the file gives no spacing."""
    if spacing_mm is None:
        return None
    row_mm, column_mm = spacing_mm
    return tumor_pixels * row_mm * column_mm
