"""BMP: two headers, an optional palette, and rows."""

from __future__ import annotations

import struct
from typing import Final

from core.errors import DecompressionBomb, InputTooLarge
from core.imaging.raster.containers.base import BrokenContainer, Container

_CORE_HEADER: Final = 12
_RUN_LENGTH: Final = (1, 2)
_UNCOMPRESSED: Final = (0, 3)
# Runs are undone one by one, and some of them pixel by pixel, in Python.
_MAX_RUN_PIXELS: Final = 4_000_000
_MAX_RUN_BYTES: Final = 4 * 1024 * 1024


def read(data: bytes) -> Container:
    """Read the headers of a BMP."""
    try:
        (pixels_at,) = struct.unpack_from("<I", data, 10)
        height, width, bits, compression = _header(data)
    except struct.error as error:
        raise BrokenContainer("The BMP is truncated: it ends inside its header.") from error
    if compression in _UNCOMPRESSED:
        row = (width * bits + 31) // 32 * 4
        end = pixels_at + row * height
    elif compression in _RUN_LENGTH:
        end = len(data)
        _check_runs(height * width, end)
    else:
        raise BrokenContainer("The BMP is compressed in an unknown way.")
    return Container(height, width, data[:end], end=min(end, len(data)))


def _check_runs(pixels: int, size: int) -> None:
    if pixels > _MAX_RUN_PIXELS:
        raise DecompressionBomb(f"A run-length BMP may have {_MAX_RUN_PIXELS} pixels; this one has {pixels}.")
    if size > _MAX_RUN_BYTES:
        raise InputTooLarge(f"A run-length BMP may have {_MAX_RUN_BYTES} bytes; this one has {size}.")


def _header(data: bytes) -> tuple[int, int, int, int]:
    """(height, width, bits per pixel, compression). A negative height means rows from top to bottom."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size == _CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return height, width, bits, 0
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if width < 1 or height == 0:
        raise BrokenContainer("The BMP header declares no size.")
    return abs(height), width, bits, compression
