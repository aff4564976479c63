"""RLE Lossless (DICOM PS3.5 Annex G), decoded no further than the frame is large."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.errors import InputTooLarge

_HEADER: Final = struct.Struct("<16I")
# A control byte of 128 means nothing; below it as many literal bytes plus one follow, above it one byte repeats.
_NOTHING: Final = 128
_REPEAT_BASE: Final = 257
# Each takes a quarter of a microsecond here. Two megapixels of single bytes have fewer, and so has any larger frame of
# an encoder that does its work.
_MAX_CONTROLS: Final = 4_000_000


def decode(frame: bytes, pixels: int, width: int) -> npt.NDArray[Any]:
    """Unsigned values (pixels,) of ``width`` bytes each, from an encoded frame of one sample per pixel.

    Raises ``ValueError`` where the frame does not hold exactly that many, ``InputTooLarge`` where it is cut into more
    than four million pieces.
    """
    if len(frame) < _HEADER.size:
        raise ValueError("the RLE header is incomplete")
    count, *offsets = _HEADER.unpack_from(frame)
    if count != width:
        raise ValueError("the RLE header declares another number of segments")
    ends = [*offsets[1:count], len(frame)]
    values = np.zeros(pixels, np.dtype(f"u{width}"))
    left = _MAX_CONTROLS
    # The most significant byte of every pixel comes first.
    for start, end in zip(offsets[:count], ends, strict=True):
        plane, left = _segment(frame[start:end], pixels, left)
        values = (values << values.dtype.type(8 * (width > 1))) | np.frombuffer(plane, np.uint8)
    return values


def _segment(source: bytes, size: int, controls: int) -> tuple[bytearray, int]:
    """One byte plane of ``size`` bytes, and how many of ``controls`` control bytes are left for the next one.

    A last padding byte of the source is ignored.
    """
    out = bytearray()
    at, last = 0, len(source) - 1
    while len(out) < size and at < last:
        controls -= 1
        if controls < 0:
            raise InputTooLarge(f"PixelData is cut into more than {_MAX_CONTROLS} pieces of RLE.")
        control = source[at]
        if control < _NOTHING:
            out += source[at + 1 : at + 2 + control]
            at += 2 + control
        elif control > _NOTHING:
            out += source[at + 1 : at + 2] * (_REPEAT_BASE - control)
            at += 2
        else:
            at += 1
    if len(out) != size:
        raise ValueError("the RLE segment has another size than the frame")
    return out, controls
