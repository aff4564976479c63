"""TIFF and BigTIFF: a chain of directories of tags, whose values may lie anywhere in the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from core.errors import DecompressionBomb, UnusableImage
from core.imaging.raster.containers import exif
from core.imaging.raster.containers.base import BrokenContainer, Container, check_pieces
from core.imaging.raster.containers.tiff_samples import UNSIGNED, Samples

_WIDTH: Final = 256
_HEIGHT: Final = 257
_BITS: Final = 258
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_STRIP_OFFSETS: Final = 273
_ORIENTATION: Final = 274
_STRIP_SIZES: Final = 279
_SAMPLES: Final = 277
_PLANAR: Final = 284
_FORMAT: Final = 339
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323
_TILE_OFFSETS: Final = 324
_TILE_SIZES: Final = 325
# The tags that make pixels: baseline, FillOrder, Predictor, ColorMap, tiles, InkSet, ExtraSamples, SampleFormat,
# JPEGTables, YCbCr. Everything else (EXIF, XMP, profiles, orientation, private tags) stays outside.
_ESSENTIAL: Final = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _STRIP_OFFSETS, _SAMPLES, 278, _STRIP_SIZES}
    | {_PLANAR, 317, 320}
    | {_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_SIZES, 332, 338, _FORMAT, 347, 529, 530, 531, 532}
)
_TYPE_SIZES: Final = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_WHOLE_TYPES: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}
# None, LZW, JPEG, Deflate (two numbers), PackBits, Zstandard. Fax codes and old-style JPEG never carry MR.
_COMPRESSIONS: Final = frozenset({1, 5, 7, 8, 32_773, 32_946, 50_000})
_WHITE_IS_ZERO: Final = 0
_SEPARATE: Final = 2
_MAX_ENTRIES: Final = 1_024
_MAX_PAGES: Final = 100_000
_MAX_TILE: Final = 65_536
_USUAL_TILE: Final = 1_024
_JPEG: Final = 7
_SCAN: Final = b"\xff\xda"
_MAX_SCANS: Final = 4


@dataclass(frozen=True, slots=True)
class _Shape:
    """The field widths of plain (32-bit) or big (64-bit) TIFF in one byte order."""

    order: str
    big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def entry_size(self) -> int:
        return 20 if self.big else 12

    @property
    def first_offset_at(self) -> int:
        return 8 if self.big else 4


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tag of a directory: ``raw`` is the entry itself, the value lies at ``start``."""

    tag: int
    kind: int
    count: int
    start: int
    raw: bytes

    @property
    def size(self) -> int:
        return _TYPE_SIZES.get(self.kind, 1) * self.count


def read(data: bytes) -> Container:
    """Read the first directory of a TIFF and count the others."""
    shape = _Shape("<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+"))
    try:
        first = _unpack(shape.offset, data, shape.first_offset_at)
        entries = {entry.tag: entry for entry in _directory(data, shape, first)}
        pages = _count_pages(data, shape, first)
        return _container(data, shape, entries, pages)
    except struct.error as error:
        raise BrokenContainer("The TIFF is truncated: a directory lies outside the file.") from error


def _unpack(code: str, data: bytes, offset: int) -> int:
    return int(struct.unpack_from(code, data, offset)[0])


def _directory(data: bytes, shape: _Shape, offset: int) -> Iterator[_Entry]:
    count = _unpack(shape.count, data, offset)
    if count > _MAX_ENTRIES:
        raise BrokenContainer(f"The TIFF directory declares more than {_MAX_ENTRIES} tags.")
    offset += struct.calcsize(shape.count)
    word = shape.offset
    for _ in range(count):
        tag, kind = struct.unpack_from(shape.order + "HH", data, offset)
        values = _unpack(word, data, offset + 4)
        inline_at = offset + 4 + struct.calcsize(word)
        size = _TYPE_SIZES.get(kind, 1) * values
        start = inline_at if size <= struct.calcsize(word) else _unpack(word, data, inline_at)
        yield _Entry(tag, kind, values, start, data[offset : offset + shape.entry_size])
        offset += shape.entry_size


def _count_pages(data: bytes, shape: _Shape, offset: int) -> int:
    """Directories in the chain; a chain that bites its own tail counts once around."""
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        if len(seen) > _MAX_PAGES:
            raise DecompressionBomb(f"The TIFF has more than {_MAX_PAGES} pages.")
        entries = _unpack(shape.count, data, offset)
        offset = _unpack(shape.offset, data, offset + struct.calcsize(shape.count) + entries * shape.entry_size)
    return len(seen)


def _container(data: bytes, shape: _Shape, entries: dict[int, _Entry], pages: int) -> Container:
    kept = [entry for tag, entry in sorted(entries.items()) if tag in _ESSENTIAL]
    for entry in kept:
        if entry.start + entry.size > len(data):
            raise BrokenContainer(f"The TIFF is truncated: the value of tag {entry.tag} lies outside the file.")
    compression = _number(data, shape, entries.get(_COMPRESSION), 1)
    if compression not in _COMPRESSIONS:
        raise UnusableImage(f"The TIFF is compressed by method {compression}, which is not supported.")
    for tag in (_TILE_WIDTH, _TILE_LENGTH):
        if _number(data, shape, entries.get(tag), 1) > _MAX_TILE:
            raise BrokenContainer("The TIFF declares tiles larger than any image.")
    height, width = (_number(data, shape, entries.get(tag), 0) for tag in (_HEIGHT, _WIDTH))
    if height < 1 or width < 1:
        raise BrokenContainer("The TIFF declares no size.")
    _check_extents(data, shape, entries, compression)
    _check_padding(height, width, *(_number(data, shape, entries.get(tag), 0) for tag in (_TILE_LENGTH, _TILE_WIDTH)))
    samples = _samples(data, shape, entries, compression)
    samples.check()
    turned = _number(data, shape, entries.get(_ORIENTATION), exif.UPRIGHT)
    white = _number(data, shape, entries.get(_PHOTOMETRIC), 1) == _WHITE_IS_ZERO
    # The decoder turns bytes and less by itself, 16 bits in one byte order only, and everything else not at all.
    wide = samples.bits[0] > 8 or samples.dtype is not None
    if wide and len(samples.bits) == 1:
        changed = {_PHOTOMETRIC: 1} if white else {}
        if samples.decoded_as != samples.formats[0]:
            changed[_FORMAT] = samples.decoded_as
        others = [entry for entry in kept if entry.tag not in changed]
        kept = sorted([*others, *(_entry(shape, *item) for item in changed.items())], key=lambda entry: entry.tag)
    return Container(
        height,
        width,
        _first_page(data, shape, kept),
        frames=pages,
        orientation=turned if 1 <= turned <= 8 else exif.UPRIGHT,
        white_is_zero=white and wide,
        dtype=samples.dtype,
        swapped=samples.swapped,
    )


def _samples(data: bytes, shape: _Shape, entries: dict[int, _Entry], compression: int) -> Samples:
    """What the file says of its samples; what it does not say is one bit, unsigned, as the standard has it."""
    count = max(1, _number(data, shape, entries.get(_SAMPLES), 1))
    bits = _numbers(data, shape, entries.get(_BITS)) or (1,)
    formats = _numbers(data, shape, entries.get(_FORMAT)) or (UNSIGNED,)
    return Samples(
        bits=bits if count > 1 else bits[:1],
        formats=formats if count > 1 else formats[:1],
        compression=compression,
        planar=_number(data, shape, entries.get(_PLANAR), 1) == _SEPARATE,
        big_endian=shape.order == ">",
    )


def _entry(shape: _Shape, tag: int, value: int) -> _Entry:
    """A tag of one short number."""
    room = shape.entry_size - struct.calcsize(shape.order + "HH" + shape.offset[-1]) - 2
    raw = struct.pack(f"{shape.order}HH{shape.offset[-1]}H{room}x", tag, 3, 1, value)
    return _Entry(tag, 3, 1, 0, raw)


def _numbers(data: bytes, shape: _Shape, entry: _Entry | None) -> tuple[int, ...]:
    if entry is None or entry.kind not in _WHOLE_TYPES or entry.start + entry.size > len(data):
        return ()
    check_pieces(entry.count, f"The TIFF has too many values in tag {entry.tag}")
    return struct.unpack_from(f"{shape.order}{entry.count}{_WHOLE_TYPES[entry.kind]}", data, entry.start)


def _number(data: bytes, shape: _Shape, entry: _Entry | None, default: int) -> int:
    numbers = _numbers(data, shape, entry)
    return numbers[0] if numbers else default


def _check_extents(data: bytes, shape: _Shape, entries: dict[int, _Entry], compression: int) -> None:
    """Every strip and tile must lie inside the file, and say how long it is; together they are no longer than it."""
    for starts_tag, sizes_tag in ((_STRIP_OFFSETS, _STRIP_SIZES), (_TILE_OFFSETS, _TILE_SIZES)):
        starts = _numbers(data, shape, entries.get(starts_tag))
        sizes = _numbers(data, shape, entries.get(sizes_tag))
        pieces = list(zip(starts, sizes, strict=False))
        if any(start + size > len(data) for start, size in pieces):
            raise BrokenContainer("The TIFF is truncated: pixels lie outside the file.")
        if sum(sizes) > len(data):
            raise BrokenContainer("The strips of the TIFF overlap: together they are longer than the file.")
        if starts_tag in entries and (not starts or (len(starts) > 1 and len(sizes) != len(starts))):
            raise BrokenContainer("The TIFF does not say where its strips lie and how long they are.")
        if compression == _JPEG:
            _check_scans(data, pieces)


def _check_scans(data: bytes, pieces: list[tuple[int, int]]) -> None:
    """In a TIFF each strip is a JPEG of one scan, or of one for each of at most four samples."""
    scans = sum(data.count(_SCAN, start, start + size) for start, size in pieces)
    if scans > _MAX_SCANS * len(pieces):
        raise DecompressionBomb("The TIFF holds JPEG data of many scans.")


def _check_padding(height: int, width: int, tile_height: int, tile_width: int) -> None:
    """Tiles may reach beyond the image, by a tile of usual size or by as much as there is image."""
    if not tile_height or not tile_width:
        return
    padded = -(-height // tile_height) * tile_height * (-(-width // tile_width) * tile_width)
    if padded > max(4 * height * width, _USUAL_TILE**2):
        raise DecompressionBomb(f"The tiles of the TIFF have {padded} pixels, the image {height * width}.")
    check_pieces(padded // (tile_height * tile_width), "The TIFF has too many tiles")


def _first_page(data: bytes, shape: _Shape, kept: list[_Entry]) -> bytes:
    """The file with one directory at its end that holds ``kept`` alone."""
    at = shape.first_offset_at
    body = data + b"\0" * (len(data) % 2)  # a directory begins at an even offset
    head = data[:at] + struct.pack(shape.offset, len(body))
    directory = struct.pack(shape.count, len(kept)) + b"".join(entry.raw for entry in kept)
    return head + body[len(head) :] + directory + struct.pack(shape.offset, 0)
