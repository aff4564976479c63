"""Data sets without preamble and file meta information, as older archives keep them.

They have no signature. One is recognised by its first elements alone: all of group 0008, in ascending order, each with
a value representation of the standard (or, in implicit encoding, a length as short as theirs are). Nothing is guessed.
"""

from __future__ import annotations

import struct
from typing import Final

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

LONG_VRS: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"})
"""Value representations whose length takes four bytes, behind two that are reserved."""
_VRS: Final = LONG_VRS | {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip
_MAGIC: Final = b"DICM"
_PREAMBLE: Final = 128
_META_GROUP: Final = 0x0002
_FIRST_GROUP: Final = 0x0008
# As many elements are looked at; a data set of an image has far more in this group.
_JUDGED: Final = 3
# Character set, image type, dates and identifiers are much shorter.
_LONGEST: Final = 1_024


def claims_dicom(data: bytes) -> bool:
    """Whether a file is DICOM by its signature, or a data set without one by its first elements."""
    return data[_PREAMBLE : _PREAMBLE + 4] == _MAGIC or _start_of_meta(data) is not None or syntax_of(data) is not None


def dressed(data: bytes) -> bytes:
    """The file with preamble, ``DICM`` and meta information; itself where it has them, or is no data set."""
    if data[_PREAMBLE : _PREAMBLE + 4] == _MAGIC:
        return data
    if (start := _start_of_meta(data)) is not None:
        return bytes(_PREAMBLE) + _MAGIC + data[start:]
    syntax = syntax_of(data)
    return data if syntax is None else as_file(data, syntax)


def as_file(data_set: bytes, syntax: str) -> bytes:
    """A data set in ``syntax``, with a preamble and the least of meta information."""
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = struct.pack("<HH2sH", _META_GROUP, 0x0010, b"UI", len(value)) + value
    return bytes(_PREAMBLE) + _MAGIC + element + data_set


def syntax_of(data: bytes) -> str | None:
    """The transfer syntax in which ``data`` begins as a bare data set; None where it does not begin like one."""
    for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN):
        if _begins(data, 0, _FIRST_GROUP, _JUDGED, syntax):
            return syntax
    return None


def _start_of_meta(data: bytes) -> int | None:
    """Where meta information begins in a file without preamble, with or without ``DICM`` before it."""
    start = len(_MAGIC) if data.startswith(_MAGIC) else 0
    return start if _begins(data, start, _META_GROUP, _JUDGED, EXPLICIT) else None


def _begins(data: bytes, at: int, group: int, count: int, syntax: str) -> bool:
    """Whether ``count`` short elements of ``group`` follow each other at ``at``, in ascending order."""
    previous = -1
    for _ in range(count):
        header = _header(data[at : at + 12], syntax)
        if header is None:
            return False
        found, element, size, length = header
        at += size + length
        if found != group or element <= previous or length > _LONGEST or length % 2 or at > len(data):
            return False
        previous = element
    return True


def _header(head: bytes, syntax: str) -> tuple[int, int, int, int] | None:
    """(group, element, size of the header, length of the value) of an element; None where there is no such header."""
    if len(head) < 12:
        return None
    order = ">" if syntax == BIG_ENDIAN else "<"
    group, element = struct.unpack(f"{order}HH", head[:4])
    if syntax == IMPLICIT:
        return group, element, 8, struct.unpack("<I", head[4:8])[0]
    if head[4:6] not in _VRS:
        return None
    if head[4:6] in LONG_VRS:
        return group, element, 12, struct.unpack(f"{order}I", head[8:])[0]
    return group, element, 8, struct.unpack(f"{order}H", head[6:8])[0]
