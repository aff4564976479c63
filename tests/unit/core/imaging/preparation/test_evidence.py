"""Evidence lies where the network saw it, in the image's own pixels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from core.contracts.manifest import ClassificationPreprocessing, MapGeometry
from core.imaging.preparation.evidence import place_evidence
from core.imaging.preparation.frame import Box
from core.imaging.preparation.transforms import Placement, prepare_classification

FloatArray = npt.NDArray[np.float32]
SPEC = ClassificationPreprocessing(size=64)


def head_with_lesion(height: int, width: int, row: float, column: float) -> FloatArray:
    """A grey disc off the centre of a dark slice, with one bright lesion at the given shares of height and width."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = 0.4 * min(height, width)
    pixels = np.where((y - 0.55 * height) ** 2 + (x - 0.42 * width) ** 2 < radius**2, 0.4, 0.0).astype(np.float32)
    lesion = (y - row * height) ** 2 + (x - column * width) ** 2 < (0.06 * min(height, width)) ** 2
    pixels[lesion] = 1.0
    return pixels


@pytest.mark.parametrize(("height", "width"), [(200, 200), (150, 231), (301, 190)])
@pytest.mark.parametrize(("row", "column"), [(0.4, 0.3), (0.4, 0.5), (0.7, 0.3), (0.65, 0.52)])
def test_evidence_for_a_lesion_lies_on_the_lesion(height: int, width: int, row: float, column: float) -> None:
    pixels = head_with_lesion(height, width, row, column)
    prepared, placement = prepare_classification(pixels, SPEC)
    # A network that finds bright lesions, in small: evidence is the brightness of each of 8 x 8 cells.
    evidence = cv2.resize(np.maximum(prepared[0] - 0.8, 0), (8, 8), interpolation=cv2.INTER_AREA)
    heat = place_evidence(evidence, placement, 64, None)
    assert heat.shape == pixels.shape
    assert heat.max() == 1.0
    mass = heat / heat.sum()
    centre_row = float((mass.sum(axis=1) * np.arange(height)).sum())
    centre_column = float((mass.sum(axis=0) * np.arange(width)).sum())
    cell = placement.side / 8
    assert abs(centre_row - row * height) < cell / 2
    assert abs(centre_column - column * width) < cell / 2


def test_evidence_against_the_class_is_no_evidence() -> None:
    placement = Placement((64, 64), Box(0, 0, 64, 64), Box(0, 0, 64, 64))
    heat = place_evidence(np.array([[-3.0, 1.0], [-2.0, -1.0]], np.float32), placement, 64, None)
    assert heat[15, 47] > 0.99
    assert heat[47, 15] < 0.25
    assert not place_evidence(np.full((2, 2), -1.0, np.float32), placement, 64, None).any()


def test_nothing_is_drawn_outside_the_head_box() -> None:
    placement = Placement((30, 40), Box(5, 10, 25, 30), Box(0, 0, 30, 40))
    heat = place_evidence(np.ones((7, 7), np.float32), placement, 64, None)
    outside = np.ones(heat.shape, np.bool_)
    outside[5:25, 10:30] = False
    assert not heat[outside].any()
    # What the map says everywhere is said everywhere, but for the rim of a single cell.
    assert (heat[8:22, 13:27] > 0.9).all()


@pytest.mark.parametrize("cell", range(4))
def test_cells_lie_where_the_geometry_says(cell: int) -> None:
    """A convolution of stride 16 that begins on the first pixel centres its cells on 0, 16, 32 and 48."""
    evidence = np.zeros((4, 4), np.float32)
    evidence[cell, 1] = 2.0
    placement = Placement((64, 64), Box(0, 0, 64, 64), Box(0, 0, 64, 64))
    heat = place_evidence(evidence, placement, 64, MapGeometry(first=0, step=16))
    assert int(heat.argmax()) == 16 * cell * 64 + 16
    tiled = place_evidence(evidence, placement, 64, None)
    assert tiled[16 * cell + 7 : 16 * cell + 9, 23:25].min() > 0.99


def test_the_maximum_may_lie_between_cells() -> None:
    evidence = np.zeros((4, 4), np.float32)
    evidence[1, 1:3] = 1.0
    placement = Placement((64, 64), Box(0, 0, 64, 64), Box(0, 0, 64, 64))
    heat = place_evidence(evidence, placement, 64, MapGeometry(first=0, step=16))
    assert int(heat.argmax()) == 16 * 64 + 24
