"""The evidence map lies where the evidence is, in the image's own pixels."""

from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from classifier_service.heatmap import place_evidence, render_heat_map
from core.contracts.manifest import ClassificationPreprocessing
from core.imaging.transforms import Box, Placement, prepare_classification

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
    heat = place_evidence(evidence, placement)
    assert heat.shape == pixels.shape
    assert heat.max() == 1.0
    mass = heat / heat.sum()
    centre_row = float((mass.sum(axis=1) * np.arange(height)).sum())
    centre_column = float((mass.sum(axis=0) * np.arange(width)).sum())
    cell = placement.side / 8
    assert abs(centre_row - row * height) < cell / 2
    assert abs(centre_column - column * width) < cell / 2


def test_evidence_against_the_class_is_no_evidence() -> None:
    placement = Placement((16, 16), Box(0, 0, 16, 16))
    heat = place_evidence(np.array([[-3.0, 1.0], [-2.0, -1.0]], np.float32), placement)
    assert heat.min() == 0.0
    assert heat[0, 15] == 1.0
    assert not heat[12:, :].any()
    assert not place_evidence(np.full((2, 2), -1.0, np.float32), placement).any()


def test_nothing_is_drawn_outside_the_head_box() -> None:
    placement = Placement((30, 40), Box(5, 10, 25, 30))
    heat = place_evidence(np.ones((7, 7), np.float32), placement)
    outside = np.ones(heat.shape, np.bool_)
    outside[5:25, 10:30] = False
    assert not heat[outside].any()
    assert (heat[~outside] == 1.0).all()


def open_png(data: bytes) -> npt.NDArray[np.uint8]:
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image)


def test_no_evidence_leaves_the_grey_slice() -> None:
    pixels = np.linspace(0, 1, 20 * 30, dtype=np.float32).reshape(20, 30)
    picture = open_png(render_heat_map(pixels, np.zeros_like(pixels)))
    assert np.array_equal(picture, np.repeat(np.rint(pixels * 255).astype(np.uint8)[:, :, None], 3, axis=2))


def test_a_tall_slice_is_drawn_without_a_seam() -> None:
    heat = np.linspace(0, 1, 700, dtype=np.float32)[:, None].repeat(5, axis=1)
    picture = open_png(render_heat_map(np.full_like(heat, 0.3), heat)).astype(np.int32)
    assert np.abs(np.diff(picture, axis=0)).max() <= 3


def test_more_evidence_is_lighter_and_warm() -> None:
    heat = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(4, axis=0)
    picture = open_png(render_heat_map(np.zeros_like(heat), heat)).astype(np.float64)
    lightness = picture[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -1.0).all()
    assert lightness[-1] > 100
    red, _, blue = picture[0, 200]
    assert red > blue
