"""From a probability map to a mask and the numbers that describe it.

A mask is a bool array (h, w) in the uploaded image's own pixels. Points and boxes are whole pixels with x to
the right, y down and the origin at the centre of the upper left pixel.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from core.contracts.segmentation import Candidate, CocoRle

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

Contour = tuple[tuple[int, int], ...]
BoundingBox = tuple[int, int, int, int]

# Chosen on validation (docs/experiments/segmenter.md): a lower peak is noise, which every head without tumour has, and
# regions down to this share of their peak overlap most with what was missed.
_LEAST_PEAK: Final = 0.005
_SHARE_OF_PEAK: Final = 0.05


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


def find_candidate(probability: FloatArray, spacing_mm: tuple[float, float] | None) -> Candidate | None:
    """The region around the highest value of a probability map (h, w) of which nothing was outlined.

    None where even the highest probability is next to nothing.
    """
    peak = float(np.clip(probability.max(), 0.0, 1.0))
    if peak < _LEAST_PEAK:
        return None
    level = _SHARE_OF_PEAK * peak
    _, regions = cv2.connectedComponents(threshold_mask(probability, level).astype(np.uint8))
    region = regions == regions.flat[np.argmax(probability)]
    box = find_bounding_box(region)
    assert box is not None  # noqa: S101  it holds the highest pixel
    pixels = count_pixels(region)
    return Candidate(
        pixels=pixels,
        area_mm2=measure_area_mm2(pixels, spacing_mm),
        contours=trace_contours(region),
        bounding_box=box,
        max_probability=peak,
        threshold=level,
    )
