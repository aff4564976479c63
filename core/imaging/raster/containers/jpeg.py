"""JPEG: segments, each behind a marker, and entropy-coded scans between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from core.errors import DecompressionBomb
from core.imaging.raster.containers import exif
from core.imaging.raster.containers.base import BrokenContainer, Container

_SOI: Final = 0xD8
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_APP0: Final = 0xE0
_APP1: Final = 0xE1
_APP14: Final = 0xEE
_COMMENT: Final = 0xFE
# Start of frame of every process of T.81 (C4, C8 and CC are tables), and of JPEG-LS (F7).
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_ALONE: Final = frozenset(range(0xD0, 0xD8)) | {0x01}
# JFIF and Adobe say how colours are coded; the other application segments and comments make no pixels.
_DROPPED: Final = frozenset(range(_APP0, 0xF0)) - {_APP0, _APP14} | {_COMMENT}
# In a scan FF is followed by 00 (a stuffed byte), a restart marker or more FF, unless the scan ends.
_END_OF_SCAN: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# A progressive image needs about ten scans. Each one costs a pass over all coefficients, even when it is empty.
_MAX_SCANS: Final = 100


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker with its body: the segment is ``data[start:end]``, marker included."""

    marker: int
    start: int
    end: int


def _next_segment(data: bytes, offset: int) -> Segment:
    start = offset
    if data[offset : offset + 1] != b"\xff":
        raise BrokenContainer("The JPEG is broken or truncated: a marker is missing.")
    while data[offset : offset + 1] == b"\xff":
        offset += 1
    if offset >= len(data):
        raise BrokenContainer("The JPEG is truncated: it ends before the EOI marker.")
    marker = data[offset]
    if marker in _ALONE or marker in (_SOI, _EOI):
        return Segment(marker, start, offset + 1)
    length = int.from_bytes(data[offset + 1 : offset + 3], "big")
    end = offset + 1 + length
    if length < 2 or end > len(data):
        raise BrokenContainer("The JPEG is truncated: it ends inside a segment.")
    return Segment(marker, start, end)


def _body(data: bytes, segment: Segment) -> bytes:
    """What follows the marker and its length."""
    return data[segment.start : segment.end].lstrip(b"\xff")[3:]


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Size in pixels, bits per sample and number of colour components."""

    height: int
    width: int
    precision: int
    components: int


def frame_header(data: bytes) -> FrameHeader:
    """What the first frame header of any JPEG or JPEG-LS stream declares.

    Raises ``BrokenContainer`` where there is none before the first scan.
    """
    offset = 2
    if data[:2] != b"\xff\xd8":
        raise BrokenContainer("The stream does not begin like a JPEG.")
    while True:
        segment = _next_segment(data, offset)
        if segment.marker in _FRAMES:
            return _parsed(_body(data, segment))
        if segment.marker in (_SOS, _EOI, _SOI):
            raise BrokenContainer("The JPEG has no frame header before its first scan.")
        offset = segment.end


def _parsed(body: bytes) -> FrameHeader:
    if len(body) < 6:
        raise BrokenContainer("The frame header of the JPEG is too short.")
    header = FrameHeader(
        height=int.from_bytes(body[1:3], "big"),
        width=int.from_bytes(body[3:5], "big"),
        precision=body[0],
        components=body[5],
    )
    if header.height == 0 or header.width == 0:
        raise BrokenContainer("The frame header of the JPEG declares no size.")
    return header


def read(data: bytes) -> Container:
    """Walk the segments of a JPEG up to its first EOI."""
    header = frame_header(data)
    kept: list[bytes] = [data[:2]]
    frames = scans = 0
    turned, offset, kept_to = exif.UPRIGHT, 2, 2
    while True:
        segment = _next_segment(data, offset)
        offset = segment.end
        if segment.marker in _DROPPED:
            kept.append(data[kept_to : segment.start])
            kept_to = segment.end
            if segment.marker == _APP1 and turned == exif.UPRIGHT:
                turned = exif.orientation(_body(data, segment))
        elif segment.marker in _FRAMES:
            frames += 1
        elif segment.marker == _SOS:
            scans += 1
            offset = _end_of_scan(data, segment.end)
        elif segment.marker == _EOI:
            break
        _check(segment, frames, scans)
    essence = data if kept_to == 2 and offset == len(data) else b"".join([*kept, data[kept_to:offset]])
    return Container(header.height, header.width, essence, orientation=turned, end=offset)


def _check(segment: Segment, frames: int, scans: int) -> None:
    if segment.marker == _SOI or frames > 1:
        raise BrokenContainer("The JPEG has more than one frame header.")
    if scans > _MAX_SCANS:
        raise DecompressionBomb(f"The JPEG has more than {_MAX_SCANS} scans.")


def _end_of_scan(data: bytes, start: int) -> int:
    found = _END_OF_SCAN.search(data, start)
    if found is None:
        raise BrokenContainer("The JPEG is truncated: it ends before the EOI marker.")
    return found.start()
