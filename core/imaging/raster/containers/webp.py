"""WebP: a RIFF file whose first chunk tells the size."""

from __future__ import annotations

from typing import Final

from core.imaging.raster.containers import exif
from core.imaging.raster.containers.base import BrokenContainer, Container, check_pieces

_START: Final = 12
_SHORT: Final = "The WebP is truncated: it is shorter than its header says."


def read(data: bytes) -> Container:
    """Walk the chunks of a WebP."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or end < _START + 8:
        raise BrokenContainer(_SHORT)
    height, width = _size(data[_START : _START + 30])
    frames, turned, offset, chunks = 0, exif.UPRIGHT, _START, 0
    while offset + 8 <= end:
        chunks += 1
        check_pieces(chunks, "The WebP has too many chunks")
        kind, length = data[offset : offset + 4], int.from_bytes(data[offset + 4 : offset + 8], "little")
        if offset + 8 + length > end:
            raise BrokenContainer(_SHORT)
        if kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            turned = exif.orientation(data[offset + 8 : offset + 8 + length])
        offset += 8 + length + length % 2
    return Container(height, width, data[:end], frames=max(1, frames), orientation=turned, end=end)


def _size(chunk: bytes) -> tuple[int, int]:
    """(height, width) from the first chunk: VP8X is extended, VP8L lossless, VP8 lossy."""
    kind, body = chunk[:4], chunk[8:]
    if kind == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[7:10], "little") + 1, int.from_bytes(body[4:7], "little") + 1
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[8:10], "little") & 0x3FFF, int.from_bytes(body[6:8], "little") & 0x3FFF
    raise BrokenContainer("The WebP does not begin with an image header.")
