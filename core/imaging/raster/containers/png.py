"""PNG: a signature and a list of chunks, the last of which is IEND."""

from __future__ import annotations

from typing import Final

from core.imaging.raster.containers import exif
from core.imaging.raster.containers.base import BrokenContainer, Container, check_pieces

_START: Final = 8
# A chunk is length, type, body and checksum.
_AROUND: Final = 12
# Chunks that make pixels. Texts, profiles, previews and later frames stay outside.
_ESSENTIAL: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def read(data: bytes) -> Container:
    """Walk the chunks of a PNG."""
    if data[_START + 4 : _START + 8] != b"IHDR" or len(data) < _START + 25:
        raise BrokenContainer("The PNG does not begin with a complete IHDR chunk.")
    kept: list[bytes] = [data[:_START]]
    frames, turned, offset, dropped, chunks = 1, exif.UPRIGHT, _START, False, 0
    while True:
        chunks += 1
        check_pieces(chunks, "The PNG has too many chunks")
        length, kind = int.from_bytes(data[offset : offset + 4], "big"), data[offset + 4 : offset + 8]
        end = offset + _AROUND + length
        if len(kind) < 4 or end > len(data):
            raise BrokenContainer("The PNG is truncated: it ends before the IEND chunk.")
        if kind in _ESSENTIAL:
            kept.append(data[offset:end])
        else:
            dropped = True
        if kind == b"acTL":
            frames = max(1, int.from_bytes(data[offset + 8 : offset + 12], "big"))
        elif kind == b"eXIf":
            turned = exif.orientation(data[offset + 8 : end - 4])
        elif kind == b"IEND":
            break
        offset = end
    whole = not dropped and end == len(data)
    return Container(
        height=int.from_bytes(data[20:24], "big"),
        width=int.from_bytes(data[16:20], "big"),
        essence=data if whole else b"".join(kept),
        frames=frames,
        orientation=turned,
        end=end,
    )
