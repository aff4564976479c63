"""The costliest PNG, JPEG, TIFF, WebP and BMP files that the limits let in, made of noise."""

from __future__ import annotations

import binascii
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.imaging.raster.containers.base import MAX_PIECES
from tests.fixtures.images import encode

Array = npt.NDArray[Any]
# Below the limit by what a sound file has besides.
_MANY: Final = MAX_PIECES - 500
_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# A filter of PNG rows that costs most to undo.
_PAETH: Final = 4


def noise(shape: tuple[int, ...], bits: int, dtype: npt.DTypeLike = np.uint8) -> Array:
    """Random values of ``bits``: they compress by what the others of their type leave."""
    return np.random.default_rng(0).integers(0, 1 << bits, shape, dtype=dtype)


def png(rows: bytes, side: int, depth: int, colour: int, *, interlaced: bool = False, before: bytes = b"") -> bytes:
    """A square PNG of filtered rows, with the chunks ``before`` its pixels."""
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + pixels + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", binascii.crc32(kind + body))


def _rows(pixels: Array) -> bytes:
    height = pixels.shape[0]
    plain = pixels.reshape(height, -1).view(np.uint8)
    return np.concatenate([np.full((height, 1), _PAETH, np.uint8), plain], axis=1).tobytes()


def _grey_in_four(side: int, bits: int, dtype: npt.DTypeLike = np.uint8) -> Array:
    return np.repeat(noise((side, side, 1), bits, dtype), 4, axis=2)


def _interlaced(side: int) -> bytes:
    passes = [(-(-(side - y) // down), -(-(side - x) // across)) for x, y, across, down in _ADAM7]
    return b"".join(_rows(np.zeros((*size, 4), np.uint16)) for size in passes)


def _jpeg(side: int, mode: str, bits: int = 6, **options: Any) -> bytes:
    channels = len(mode) if mode != "L" else 1
    pixels = noise((side, side, channels), bits)
    return encode(Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels, mode), "JPEG", **options)


def scans(side: int) -> bytes:
    """A grey progressive JPEG whose last scan comes again and again, as often as the limits allow."""
    data = _jpeg(side, "L", 3, progressive=True, quality=20)
    last = data[data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda")) : -2]
    count = min(100, 700_000_000 // side**2) - data.count(b"\xff\xda")
    return data[:-2] + last * count + data[-2:]


def _runs(side: int, bits: int) -> bytes:
    """A run-length BMP: of 8 bits in runs of one, of 4 bits in runs as long as can be, undone pixel by pixel."""
    row = b"\x01\x05" * side if bits == 8 else b"\xff\x12" * (side // 255) + bytes([side % 255 or 1, 0x12])
    pixels = (row + b"\0\0") * side + b"\0\1"
    palette = bytes(4 << bits)
    start = 54 + len(palette)
    header = struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    header += struct.pack(
        "<IiiHHIIiiII", 40, side, side, 1, bits, 1 if bits == 8 else 2, len(pixels), 0, 0, 1 << bits, 0
    )
    return b"BM" + header + palette + pixels


def _tiff(pixels: Array, compression: str, **options: Any) -> bytes:
    return encode(Image.fromarray(pixels), "TIFF", compression=compression, **options)


# The tag of orientation, and the value for which a decoder has to turn the image.
_TURNED: Final = {274: 6}

CASES: Final[dict[str, Callable[[int], bytes]]] = {
    "png, 16 bits": lambda side: png(_rows(noise((side, side), 4, np.uint16)), side, 16, 0),
    "png, 4 x 16 bits, most chunks": lambda side: png(
        _rows(_grey_in_four(side, 2, np.uint16)), side, 16, 6, before=chunk(b"IDAT", b"") * _MANY
    ),
    "png, 4 x 16 bits, interlaced": lambda side: png(_interlaced(side), side, 16, 6, interlaced=True),
    "png, palette with alpha": lambda side: png(
        _rows(noise((side, side), 5)),
        side,
        8,
        3,
        before=chunk(b"PLTE", bytes(range(256)) * 3) + chunk(b"tRNS", bytes(256)),
    ),
    "png, 30 MB behind its end": lambda _: png(_rows(noise((64, 64), 8)), 64, 8, 0) + b"<P7M#" * 6_000_000,
    "jpeg, colour": lambda side: _jpeg(side, "RGB", quality=40, subsampling=0),
    "jpeg, cmyk, progressive, most segments": lambda side: _more_segments(
        _jpeg(side, "CMYK", quality=15, progressive=True)
    ),
    "jpeg, most scans": scans,
    "tiff, float32, turned": lambda side: _tiff(
        noise((side, side), 3).astype(np.float32) * 37, "tiff_deflate", tiffinfo=_TURNED
    ),
    "tiff, int32, turned": lambda side: _tiff(
        noise((side, side), 4).astype(np.int32), "tiff_deflate", tiffinfo=_TURNED
    ),
    "tiff, 4 x 8 bits, lzw": lambda side: _tiff(_grey_in_four(side, 3), "tiff_lzw"),
    "tiff, strips of one row": lambda side: _tiff(
        noise((16_384, max(16, side**2 // 16_384)), 8), "tiff_deflate", strip_size=1
    ),
    "tiff, jpeg": lambda side: _tiff(noise((side, side, 3), 6), "jpeg", quality=30),
    "webp, lossless, alpha": lambda side: encode(
        Image.fromarray(_grey_in_four(side, 3), "RGBA"), "WEBP", lossless=True, quality=0, method=0
    ),
    "webp, lossy, alpha": lambda side: encode(
        Image.fromarray(noise((side, side, 4), 6), "RGBA"), "WEBP", quality=20, method=0
    ),
    "bmp, 32 bits": lambda side: encode(Image.fromarray(noise((min(side, 2_800),) * 2 + (4,), 8), "RGBA"), "BMP"),
    "bmp, runs of 8 bits": lambda side: _runs(min(side, 1_400), 8),
    "bmp, runs of 4 bits": lambda side: _runs(min(side, 2_000), 4),
}
"""By name; each takes the side of the largest square image in pixels."""


def _more_segments(jpeg: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xfe\0\2" * _MANY + jpeg[2:]
