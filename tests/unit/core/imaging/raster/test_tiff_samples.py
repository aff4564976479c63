"""TIFF of every sample type: the same picture comes out, or the refusal names the type."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.errors import UnusableImage
from core.imaging.decode import decode
from tests.fixtures.tiffs import make_tiff

# From 0 to 120, every step among them, and far from symmetric.
GREYS = np.add.outer(np.arange(64) * 1.25, np.arange(48) % 42).round()
STRETCHED = (GREYS - GREYS.min()) / (GREYS.max() - GREYS.min())
# Values that a reader of the wrong type or byte order takes for others.
KINDS = {"int8": (1, -100), "int16": (200, -9_000), "int32": (1e7, -6e8), "uint32": (3.3e7, 0), "float32": (1, -20)}
LAYOUTS = list(itertools.product("<>", ("none", "deflate"), (False, True)))


@pytest.mark.parametrize(("byte_order", "compression", "white_is_zero"), LAYOUTS)
@pytest.mark.parametrize("dtype", KINDS)
def test_the_same_picture_comes_out(dtype: str, byte_order: str, compression: str, white_is_zero: bool) -> None:
    factor, offset = KINDS[dtype]
    pixels = (GREYS * factor + offset).astype(dtype)
    assert len(np.unique(pixels)) == len(np.unique(GREYS))
    found = decode(make_tiff(pixels, byte_order, compression, white_is_zero)).pixels
    np.testing.assert_allclose(found, 1 - STRETCHED if white_is_zero else STRETCHED, atol=1e-5)


@pytest.mark.parametrize(("byte_order", "compression", "white_is_zero"), LAYOUTS)
@pytest.mark.parametrize(("dtype", "largest"), [("uint8", 255), ("uint16", 65_535)])
def test_unsigned_bytes_and_words_keep_their_scale(
    dtype: str, largest: int, byte_order: str, compression: str, white_is_zero: bool
) -> None:
    pixels = (GREYS * (largest // 128)).astype(dtype)
    found = decode(make_tiff(pixels, byte_order, compression, white_is_zero)).pixels
    scaled = pixels / largest
    np.testing.assert_allclose(found, 1 - scaled if white_is_zero else scaled, atol=1e-6)


def test_floats_within_0_and_1_are_kept_in_either_byte_order() -> None:
    for byte_order, compression, white_is_zero in LAYOUTS:
        pixels = (0.2 + STRETCHED / 2).astype(np.float32)
        found = decode(make_tiff(pixels, byte_order, compression, white_is_zero)).pixels
        assert np.array_equal(found, 1 - pixels if white_is_zero else pixels)


@pytest.mark.parametrize("byte_order", "<>")
def test_a_value_that_is_no_number_is_refused_in_either_byte_order(byte_order: str) -> None:
    pixels = GREYS.astype(np.float32)
    pixels[3, 4] = np.nan
    for compression in ("none", "deflate"):
        with pytest.raises(UnusableImage, match="not numbers"):
            decode(make_tiff(pixels, byte_order, compression))


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint64", "int64", "complex64", "complex128"])
@pytest.mark.parametrize("byte_order", "<>")
def test_other_types_are_refused_by_name(dtype: str, byte_order: str) -> None:
    for compression in ("none", "deflate"):
        with pytest.raises(UnusableImage, match=rf"\({dtype}\)"):
            decode(make_tiff(GREYS.astype(dtype), byte_order, compression))


def channels(dtype: str, count: int) -> npt.NDArray[Any]:
    return np.stack([GREYS * (1 if dtype == "uint8" else 400)] * count, axis=-1).astype(dtype)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int32", "float32", "float16"])
def test_colour_of_other_types_is_refused_by_name(dtype: str) -> None:
    with pytest.raises(UnusableImage, match=rf"\({dtype}\) in several channels"):
        decode(make_tiff(channels(dtype, 3)))


def test_colour_of_16_bits_is_read_but_in_separate_uncompressed_planes() -> None:
    for byte_order, compression, planar in (("<", "none", False), (">", "deflate", False), (">", "deflate", True)):
        found = decode(make_tiff(channels("uint16", 3), byte_order, compression, planar=planar)).pixels
        np.testing.assert_allclose(found, GREYS * 400 / 65_535, atol=0.005)
    with pytest.raises(UnusableImage, match="separate planes"):
        decode(make_tiff(channels("uint16", 3), planar=True))
    with pytest.raises(UnusableImage, match="two channels"):
        decode(make_tiff(channels("uint16", 2)))
