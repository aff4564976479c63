"""What a DICOM file that cannot be used says of itself: which object it is, and which series it belongs to.

A study holds objects that nobody asked for: videos, segmentations of thousands of frames, files cut off by a broken
export. Whether one of them matters is a question of its series, so that is read wherever it can be.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.tag import Tag

from core.errors import InvalidDicom
from core.imaging.bare_dicom import dressed, syntax_of
from core.imaging.dicom.file import MeteredBytes, scan_meta
from core.imaging.dicom.header import Header
from core.imaging.dicom.selection.acquisition import KEYWORDS

_KEYWORDS: Final = ("SOPClassUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber")
_LAST: Final = max(map(Tag, _KEYWORDS))
# No sequences: here nothing bounds their items.
_PLAIN: Final = tuple(keyword for keyword in KEYWORDS if not keyword.endswith("Sequence"))
_WANTED: Final = frozenset(tag for tag in map(Tag, (*_KEYWORDS, *_PLAIN)) if tag <= _LAST)
# All that is wanted stands in the first kilobytes, but for a list of the objects that this one refers to.
_LOOKED_AT: Final = 8 * 1024 * 1024
_MAX_READS: Final = 20_000


def read_identity(data: bytes) -> Header:
    """The elements that tell an object from others, as far as the file can be read; never raises."""
    data_set = Dataset()
    with suppress(Exception):
        for element in _elements(dressed(data)):
            if element.tag in _WANTED:
                data_set[element.tag] = element
    return Header(data_set)


def _elements(data: bytes) -> Iterator[Any]:
    """Elements from the start of the data set to the last wanted one, until something is broken."""
    syntax, start = scan_meta(data)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], _LOOKED_AT)
    else:
        head = data[start : start + _LOOKED_AT]
    syntax = syntax or syntax_of(head) or ""
    if not syntax:
        raise InvalidDicom("The encoding of the data set cannot be told.")
    yield from data_element_generator(
        MeteredBytes(head, _MAX_READS),
        is_implicit_VR=syntax == uid.ImplicitVRLittleEndian,
        is_little_endian=syntax != uid.ExplicitVRBigEndian,
        stop_when=lambda tag, _vr, _length: tag > _LAST,
    )
