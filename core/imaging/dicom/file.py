"""The outside of a DICOM file: file meta information, transfer syntax, bounded inflation, data set."""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pydicom
from pydicom import config, uid

from core.errors import DecompressionBomb, InputTooLarge, InvalidDicom, UnsupportedTransferSyntax
from core.imaging.bare_dicom import LONG_VRS, as_file, dressed
from core.imaging.dicom.selection.acquisition import KEYWORDS
from core.imaging.limits import ImageLimits

# pydicom's remarks on malformed values quote them, and they may be a patient's: nothing is checked on reading
# (what matters is checked here) and nothing is logged.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

SUPPORTED: Final = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEGLSNearLossless,
        uid.JPEG2000Lossless,
        uid.JPEG2000,
    }
)
READABLE: Final = "uncompressed, deflated, RLE, JPEG (8 bits), JPEG lossless, JPEG-LS and JPEG 2000"
"""The same in words, for problems."""

_META_START: Final = 132
# An enhanced file of a thousand frames takes about half of these reads; all of them take less than a second.
_MAX_READS: Final = 200_000
_MAX_ITEMS: Final = 50_000
# Room for thousands of frames; filled with the shortest elements it takes two and a half seconds.
_MAX_SEQUENCE_BYTES: Final = 4 * 1024 * 1024
# There are about ten.
_MAX_META_ELEMENTS: Final = 1_024
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = b"\xfe\xff\x00\xe0"
_ITEM_BIG_ENDIAN: Final = b"\xff\xfe\xe0\x00"
_SEQUENCES: Final = (
    "ContrastBolusAgentSequence", "AnatomicRegionSequence", "VOILUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# Preambles that make one file both a DICOM image and something that runs or opens elsewhere.
_HOSTILE_PREAMBLES: Final = (
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "an ELF program"),
    (b"#!", "a script"),
    (b"PK", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
    (b"<", "markup"),
)
TAGS: Final = (
    "SOPClassUID", "Modality", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing",
    "PixelPaddingValue", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData", *_SEQUENCES, *KEYWORDS,
)  # fmt: skip
"""Everything that decoding needs: no element that names a patient is among them."""


@dataclass(frozen=True, slots=True)
class MetaInformation:
    """The transfer syntax of a file, and the offset in bytes at which its data set begins."""

    transfer_syntax: uid.UID
    end: int


def read_meta(data: bytes) -> MetaInformation:
    """Group 0002 of a file, element by element, in explicit little endian as the standard fixes it.

    Raises ``InvalidDicom`` where the prefix, an element or the transfer syntax is missing.
    """
    if data[128:_META_START] != b"DICM":
        raise InvalidDicom("DICM is missing after the 128-byte preamble.")
    _check_preamble(data)
    syntax, offset = scan_meta(data)
    if not syntax:
        raise InvalidDicom("The file meta information has no TransferSyntaxUID.")
    return MetaInformation(uid.UID(syntax), offset)


def scan_meta(data: bytes) -> tuple[str, int]:
    """The transfer syntax that group 0002 names, empty where it names none, and the offset behind the group."""
    offset, syntax, count = _META_START, "", 0
    while data[offset : offset + 2] == b"\x02\x00":
        count += 1
        if count > _MAX_META_ELEMENTS:
            raise InputTooLarge(f"The file meta information has more than {_MAX_META_ELEMENTS} elements.")
        element, start, length = _element(data, offset)
        if start + length > len(data):
            raise InvalidDicom("The file ends inside the file meta information.")
        if element == 0x0010:
            syntax = data[start : start + length].rstrip(b"\0 ").decode("ascii", "replace")
        offset = start + length
    return syntax, offset


def _check_preamble(data: bytes) -> None:
    for signature, what in _HOSTILE_PREAMBLES:
        if data.startswith(signature):
            raise InvalidDicom(f"Polyglot: the preamble of the DICOM file begins like {what}.")


def _element(data: bytes, offset: int) -> tuple[int, int, int]:
    """(element number, start of the value, its length) of the explicit little-endian element at ``offset``."""
    header = data[offset : offset + 12]
    if len(header) < 8:
        raise InvalidDicom("The file ends inside the file meta information.")
    number = int.from_bytes(header[2:4], "little")
    if header[4:6] not in LONG_VRS:
        return number, offset + 8, int.from_bytes(header[6:8], "little")
    if len(header) < 12:
        raise InvalidDicom("The file ends inside the file meta information.")
    return number, offset + 12, int.from_bytes(header[8:12], "little")


def _check_syntax(syntax: uid.UID) -> None:
    if syntax in SUPPORTED:
        return
    known = syntax.name if syntax.is_transfer_syntax else "an unknown one"
    shown = str(syntax) if syntax.is_valid else "not a UID"
    raise UnsupportedTransferSyntax(f"The transfer syntax is {known} ({shown}). Readable are: {READABLE}.")


def _inflated(data: bytes, start: int, limits: ImageLimits) -> bytes:
    """The deflated data set from ``start`` on, inflated; refused as soon as it exceeds the limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        out = inflater.decompress(data[start:], limits.max_inflated_bytes + 1)
    except zlib.error as error:
        raise InvalidDicom("The deflated data set is broken.") from error
    if len(out) > limits.max_inflated_bytes:
        raise DecompressionBomb(f"The deflated data set expands beyond {limits.max_inflated_bytes} bytes.")
    if not inflater.eof:
        raise InvalidDicom("The deflated data set is truncated.")
    return out


def read_data_set(data: bytes, limits: ImageLimits, also: Sequence[str] = ()) -> Any:
    """The pydicom data set of a file, reduced to the elements that decoding needs and the keywords in ``also``.

    Preamble and file meta information may be missing (``core.imaging.bare_dicom``).
    Raises ``InvalidDicom``, ``UnsupportedTransferSyntax``, ``InputTooLarge`` or ``DecompressionBomb``.
    """
    data = dressed(data)
    meta = read_meta(data)
    _check_syntax(meta.transfer_syntax)
    if meta.transfer_syntax == uid.DeflatedExplicitVRLittleEndian:
        data = as_file(_inflated(data, meta.end, limits), uid.ExplicitVRLittleEndian)
    _check_items(data)
    try:
        data_set = pydicom.dcmread(MeteredBytes(data, _MAX_READS), specific_tags=[*TAGS, *also])
    except TooManyReads as error:
        raise InputTooLarge("The data set holds more elements than any MR file.") from error
    except Exception as error:
        raise InvalidDicom("The data set is truncated or broken.") from error
    _check_nested(data_set)
    _check_plain(data_set, meta.transfer_syntax)
    return data_set


class TooManyReads(Exception):
    """More was read of ``MeteredBytes`` than they allow."""


class MeteredBytes(io.BytesIO):
    """Bytes that can be read from only so often: a few megabytes of empty elements would keep pydicom for minutes."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self._left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise TooManyReads
        return super().read(size)


def _check_items(data: bytes) -> None:
    """An empty sequence item takes 8 bytes of a file and 20 microseconds of pydicom; a fragment of pixels likewise."""
    if max(data.count(_ITEM), data.count(_ITEM_BIG_ENDIAN)) > _MAX_ITEMS:
        raise InputTooLarge(f"The data set has more than {_MAX_ITEMS} sequence items or fragments.")


def _check_nested(data_set: Any) -> None:
    """Sequences of known length were read in one piece, past the meter, and are parsed when they are asked for."""
    elements = (data_set.get_item(keyword) for keyword in _SEQUENCES)
    unparsed = [element.value for element in elements if element is not None and isinstance(element.value, bytes)]
    if sum(map(len, unparsed)) > _MAX_SEQUENCE_BYTES:
        raise InputTooLarge(f"{' and '.join(_SEQUENCES)} have more than {_MAX_SEQUENCE_BYTES} bytes.")


def _check_plain(data_set: Any, syntax: uid.UID) -> None:
    """Compressed pixels have no length of their own; their syntax cannot be told where no meta information names it."""
    pixels = data_set.get_item("PixelData")
    if pixels is not None and not syntax.is_encapsulated and getattr(pixels, "length", 0) == _UNDEFINED:
        raise InvalidDicom("PixelData is compressed, and the file does not say how: it names no such transfer syntax.")
