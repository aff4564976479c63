"""Pictures of a segmentation, read back pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis.extra import numpy as hnp
from PIL import Image

from segmenter_service.slices.render import find_border, render_image, render_mask, render_overlay

BoolArray = npt.NDArray[np.bool_]
RED = (255, 0, 0)

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=16))


def dilate(mask: BoolArray) -> BoolArray:
    """Binary dilation by definition: a pixel is in when it or a direct neighbour is."""
    padded = np.pad(mask, 1)
    return padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]


def open_png(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return image


@given(masks)
def test_border_is_dilation_minus_mask(mask: BoolArray) -> None:
    assert np.array_equal(find_border(mask), dilate(mask) & ~mask)


@given(masks)
def test_mask_picture_is_grey_and_has_two_values(mask: BoolArray) -> None:
    picture = open_png(render_mask(mask))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), mask * np.uint8(255))


def test_overlay_is_the_slice_with_a_red_border() -> None:
    pixels = np.linspace(0, 1, 11 * 17, dtype=np.float32).reshape(11, 17)
    mask = np.zeros(pixels.shape, np.bool_)
    mask[3:7, 5:12] = True
    picture = open_png(render_overlay(pixels, mask))
    assert picture.mode == "RGB"
    assert picture.size == (17, 11)
    colours = np.asarray(picture)
    border = dilate(mask) & ~mask
    assert (colours[border] == RED).all()
    grey = np.rint(pixels * 255).astype(np.uint8)
    assert np.array_equal(colours[~border], np.repeat(grey[~border][:, None], 3, axis=1))


def test_overlay_without_tumour_is_grey_throughout() -> None:
    colours = np.asarray(open_png(render_overlay(np.full((8, 9), 0.4, np.float32), np.zeros((8, 9), np.bool_))))
    assert (colours == 102).all()


def test_image_is_what_the_overlay_shows_beside_its_border() -> None:
    pixels = np.linspace(-0.2, 1.2, 11 * 17, dtype=np.float32).reshape(11, 17)
    mask = np.zeros(pixels.shape, np.bool_)
    mask[3:7, 5:12] = True
    picture = open_png(render_image(pixels))
    assert picture.mode == "L"
    assert picture.size == (17, 11)
    grey = np.asarray(picture)
    assert (grey.min(), grey.max()) == (0, 255)
    beside = ~find_border(mask)
    assert np.array_equal(np.asarray(open_png(render_overlay(pixels, mask)))[beside][:, 0], grey[beside])
