"""PNG pictures of a segmentation, in the uploaded image's own size."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

# The direct neighbours of a pixel: the structuring element that binary dilation means when none is named.
_NEIGHBOURS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_RED_BGR = (0, 0, 255)
# Pictures are made while a caller waits: level 1 costs a third of the default and a few per cent of size.
_PNG_FLAGS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def find_border(mask: BoolArray) -> BoolArray:
    """The pixels just outside the mask: its binary dilation by the direct neighbours, minus the mask."""
    dilated = cv2.dilate(mask.astype(np.uint8), _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return (dilated > 0) & ~mask


def render_mask(mask: BoolArray) -> bytes:
    """A grey PNG: 255 where there is tumour, 0 elsewhere."""
    return _encode_png(np.where(mask, np.uint8(255), np.uint8(0)))


def render_overlay(pixels: FloatArray, mask: BoolArray) -> bytes:
    """An RGB PNG: the slice (h, w) in [0, 1] in grey, the tumour's border in pure red."""
    picture = np.repeat(_grey(pixels)[:, :, None], 3, axis=2)
    picture[find_border(mask)] = _RED_BGR
    return _encode_png(picture)


def render_image(pixels: FloatArray) -> bytes:
    """A grey PNG: the slice (h, w) in [0, 1] as the overlay shows it, with nothing drawn on it."""
    return _encode_png(_grey(pixels))


def _grey(pixels: FloatArray) -> ByteArray:
    grey: ByteArray = np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)
    return grey


def _encode_png(picture: ByteArray) -> bytes:
    _, encoded = cv2.imencode(".png", picture, _PNG_FLAGS)
    return encoded.tobytes()
