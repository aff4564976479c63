"""Decoded images of any mode to grey values in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from core.errors import InvalidImage, UnusableImage
from core.imaging.ramp import full_range
from core.imaging.slices import FloatArray

_INTEGER_MODES: Final = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_ALPHA_MODES: Final = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})
_COLOUR_MODES: Final = frozenset({"P", "RGB", "RGBX", "CMYK", "YCbCr"})
# Colour is judged on at most this many pixels a side: more does not move the mean.
_SAMPLE_SIDE: Final = 256
_LARGEST: Final = 1e12


@dataclass(frozen=True, slots=True, eq=False)
class Grey:
    """Grey values float32 (h, w) in [0, 1] with how colourful the original was and what there is to say of it."""

    pixels: FloatArray
    colourfulness: float = 0.0
    notes: tuple[str, ...] = ()


def widened(image: Image.Image, white_is_zero: bool = False) -> Grey:
    """A loaded image as grey values.

    8 bits and fewer are divided by 255; 16 bits by the largest value of as many bits as the image uses (4095 for 12
    bits in 16); 32-bit integers and floats are stretched from minimum to maximum, unless floats are within [0, 1]
    already. Colour becomes ITU-R 601 luma, transparency is laid over black. Raises ``UnusableImage`` for values that
    are not finite, ``InvalidImage`` for a colour space without a grey axis.
    """
    if image.mode == "F":
        return Grey(_from_floats(np.asarray(image)))
    if image.mode in _INTEGER_MODES:
        return Grey(_from_integers(np.asarray(image), image.mode == "I", white_is_zero))
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return Grey(_from_luma(image))
    return _from_colour(image)


def stretched(image: Image.Image, dtype: np.dtype[np.generic], swapped: bool, white_is_zero: bool) -> Grey:
    """A loaded image of one sample a pixel whose bits are those of ``dtype``, as grey values.

    Values are stretched from minimum to maximum, unless floats are within [0, 1] already. ``swapped`` says that their
    bytes are reversed. Raises ``UnusableImage`` for values that are not finite.
    """
    loaded = np.asarray(image)
    # The decoder may hold narrow samples in wider ones, never the other way round, and in either byte order.
    bits = loaded if loaded.dtype.kind == "f" else loaded.astype(f"u{dtype.itemsize}", copy=False)
    values = (bits.byteswap() if swapped else bits).view(dtype)
    if dtype.kind == "f":
        grey = _from_floats(values)
    else:
        floats = values.astype(np.float32)
        # As large as the image each, and nobody needs them any more.
        del loaded, bits, values
        grey = full_range(floats)
    return Grey(np.subtract(1.0, grey, out=grey) if white_is_zero else grey)


def turned(pixels: FloatArray, orientation: int) -> FloatArray:
    """Pixels as stored (h, w), upright: EXIF orientation 2 to 4 mirror and rotate, 5 to 8 also exchange the axes."""
    if orientation >= 5:
        pixels = pixels.T
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def from_bytes(pixels: npt.NDArray[np.uint8]) -> FloatArray:
    """Grey values uint8 (h, w) from 0 to 255 as float32 in [0, 1]."""
    grey: FloatArray = np.divide(pixels, np.float32(255), dtype=np.float32)
    return grey


def _from_luma(image: Image.Image) -> FloatArray:
    return from_bytes(np.asarray(image if image.mode == "L" else image.convert("L")))


def _from_integers(values: npt.NDArray[np.generic], stretched: bool, white_is_zero: bool) -> FloatArray:
    if stretched:
        return full_range(values.astype(np.float32))
    bits = max(8, int(values.max()).bit_length())
    grey: FloatArray = np.divide(values, np.float32((1 << bits) - 1), dtype=np.float32)
    return np.subtract(1.0, grey, out=grey) if white_is_zero else grey


def _from_floats(values: npt.NDArray[np.generic]) -> FloatArray:
    grey: FloatArray = values.astype(np.float32)
    low, high = float(grey.min()), float(grey.max())
    # NaN is the minimum of any array that holds one; numbers beyond the limit would overflow the arithmetic.
    if not (abs(low) <= _LARGEST and abs(high) <= _LARGEST):
        raise UnusableImage("The image holds values that are not numbers, or not of reasonable size.")
    return grey if low >= 0.0 and high <= 1.0 else full_range(grey)


def _from_colour(image: Image.Image) -> Grey:
    transparent = image.mode in _ALPHA_MODES or "transparency" in image.info
    if not transparent and image.mode not in _COLOUR_MODES:
        raise InvalidImage(f"The colour space {image.mode} is not supported.")
    colour = _as_mode(image, "RGBA" if transparent else "RGB")
    luma = colour.convert("L")
    if transparent:
        luma = ImageChops.multiply(luma, colour.getchannel("A"))
    return Grey(_from_luma(luma), _colourfulness(colour))


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image in another mode; itself where it has that mode already, since Pillow would copy it."""
    return image if image.mode == mode and "transparency" not in image.info else image.convert(mode)


def _colourfulness(colour: Image.Image) -> float:
    """Mean over a regular sample of pixels of (largest - smallest of R, G, B), in [0, 1]."""
    step = max(1, -(-max(colour.size) // _SAMPLE_SIDE))
    size = (max(1, colour.width // step), max(1, colour.height // step))
    red, green, blue = colour.resize(size, Image.Resampling.NEAREST).convert("RGB").split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    smallest = ImageChops.darker(ImageChops.darker(red, green), blue)
    return float(np.asarray(ImageChops.subtract(largest, smallest)).mean()) / 255
