"""The evidence map as a picture."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from classifier_service.heatmap import render_heat_map

FloatArray = npt.NDArray[np.float32]


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
