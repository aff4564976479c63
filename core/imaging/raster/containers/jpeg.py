"""JPEG: segments, each behind a marker, and entropy-coded scans between them."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Final

from core.errors import DecompressionBomb, UnusableImage
from core.imaging.raster.containers import exif
from core.imaging.raster.containers.base import BrokenContainer, Container, check_pieces

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
# Baseline, extended and progressive DCT with Huffman codes: what every decoder reads. Arithmetic codes, lossless and
# hierarchical processes are read by few, and cost far more.
_READ: Final = frozenset({0xC0, 0xC1, 0xC2})
# A progressive image needs about ten scans. Each one costs a pass over all coefficients, even when it is empty.
_MAX_SCANS: Final = 100
# So scans also count by their samples: this is the largest image in four colours, each in seven scans.
_MAX_SCANNED: Final = 700_000_000
# A marker may stand behind any number of fill bytes, which decoders step over one by one.
_FILL: Final = re.compile(rb"\xff+")
_MAX_FILL: Final = 1_024
_MANY: Final = "The JPEG has too many segments"


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker with its body: the segment is ``data[start:end]``, marker included."""

    marker: int
    start: int
    end: int


def _next_segment(data: bytes, offset: int) -> Segment:
    start = offset
    fill = _FILL.match(data, offset)
    if fill is None:
        raise BrokenContainer("The JPEG is broken or truncated: a marker is missing.")
    offset = fill.end()
    if offset - start > _MAX_FILL:
        raise BrokenContainer(f"The JPEG has more than {_MAX_FILL} fill bytes before a marker.")
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
    for pieces in itertools.count(1):
        check_pieces(pieces, _MANY)
        segment = _next_segment(data, offset)
        if segment.marker in _FRAMES:
            return _parsed(_body(data, segment))
        if segment.marker in (_SOS, _EOI, _SOI):
            break
        offset = segment.end
    raise BrokenContainer("The JPEG has no frame header before its first scan.")


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
    """Walk the segments of a JPEG up to its first EOI.

    Raises ``UnusableImage`` for a process that is not read, ``InputTooLarge`` and ``DecompressionBomb`` for too many
    segments or scans.
    """
    header = frame_header(data)
    kept: list[bytes] = [data[:2]]
    work = _Work(header.height * header.width)
    turned, offset, kept_to = exif.UPRIGHT, 2, 2
    while True:
        segment = _next_segment(data, offset)
        offset = segment.end
        if segment.marker in _DROPPED:
            kept.append(data[kept_to : segment.start])
            kept_to = segment.end
            if segment.marker == _APP1 and turned == exif.UPRIGHT:
                turned = exif.orientation(_body(data, segment))
        elif segment.marker == _SOS:
            offset = _end_of_scan(data, segment.end)
        elif segment.marker == _EOI:
            break
        work.add(segment, data)
    essence = data if kept_to == 2 and offset == len(data) else b"".join([*kept, data[kept_to:offset]])
    grey = header.components == 1 and header.precision == 8
    return Container(header.height, header.width, essence, orientation=turned, end=offset, grey_jpeg=grey)


@dataclass(slots=True)
class _Work:
    """What the segments so far ask of a decoder, of an image of ``pixels``."""

    pixels: int
    pieces: int = 0
    frames: int = 0
    scans: int = 0
    scanned: int = 0

    def add(self, segment: Segment, data: bytes) -> None:
        """Count one more segment; raise where there are too many, or it is of a kind that is not read."""
        self.pieces += 1
        check_pieces(self.pieces, _MANY)
        if segment.marker in _FRAMES:
            self.frames += 1
            if segment.marker not in _READ:
                raise UnusableImage("The JPEG is lossless, hierarchical or in arithmetic codes, which are not read.")
        if segment.marker == _SOI or self.frames > 1:
            raise BrokenContainer("The JPEG has more than one frame header.")
        if segment.marker == _SOS:
            self.scans += 1
            self.scanned += self.pixels * max(1, next(iter(_body(data, segment)[:1]), 1))
        if self.scans > _MAX_SCANS:
            raise DecompressionBomb(f"The JPEG has more than {_MAX_SCANS} scans.")
        # Of a single scan the size of the image says enough.
        if self.scans > 1 and self.scanned > _MAX_SCANNED:
            raise DecompressionBomb(f"The scans of the JPEG go over more than {_MAX_SCANNED} samples.")


def _end_of_scan(data: bytes, start: int) -> int:
    found = _END_OF_SCAN.search(data, start)
    if found is None:
        raise BrokenContainer("The JPEG is truncated: it ends before the EOI marker.")
    return found.start()
