"""What a file is, judged by its bytes, and whether that is what it was declared to be."""

from __future__ import annotations

from typing import Final

from core.errors import InvalidDicom, InvalidImage, RequestError, UnsupportedMediaType
from core.imaging.bare_dicom import claims_dicom

PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
TIFF: Final = "image/tiff"
WEBP: Final = "image/webp"
BMP: Final = "image/bmp"
DICOM: Final = "application/dicom"

ACCEPTED: Final = (PNG, JPEG, TIFF, WEBP, BMP, DICOM)
"""Media types that can be decoded, as they are spelled in answers."""

# Spellings in use for the same formats.
_ALIASES: Final = {
    "image/jpg": JPEG,
    "image/pjpeg": JPEG,
    "image/x-png": PNG,
    "image/tif": TIFF,
    "image/x-ms-bmp": BMP,
    "image/x-bmp": BMP,
    "application/x-dicom": DICOM,
}
# Declarations that say nothing: the bytes decide.
_GENERIC: Final = frozenset({"", "application/octet-stream"})

NAMES: Final = {PNG: "PNG", JPEG: "JPEG", TIFF: "TIFF", WEBP: "WebP", BMP: "BMP", DICOM: "DICOM"}

_RASTER_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),
    (b"MM\x00+", TIFF),
)
# Recognised only to say what was sent instead of an image.
_FOREIGN_SIGNATURES: Final = (
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O program"),
    (b"#!", "a script"),
    (b"\x1f\x8b", "gzip data (NIfTI volumes are not slices)"),
    (b"BZh", "bzip2 data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 file"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
    (b"8BPS", "a Photoshop document"),
    (b"%!PS", "a PostScript document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"{", "JSON text"),
)
_MARKUP: Final = ((b"<svg", "an SVG image"), (b"<html", "an HTML page"), (b"<!doctype html", "an HTML page"))


def _sniff_raster(data: bytes) -> str | None:
    for signature, media_type in _RASTER_SIGNATURES:
        if data.startswith(signature):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    # "BM" alone is too weak: the four reserved bytes are zero and the info header's size is one of few.
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0" and data[14:18] in _BMP_HEADER_SIZES:
        return BMP
    return None


_BMP_HEADER_SIZES: Final = frozenset(size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124))


def describe(data: bytes) -> str:
    """What the bytes look like, in words for a problem's detail; never quotes the bytes."""
    if media_type := sniff(data):
        return f"a {NAMES[media_type]} file"
    for signature, name in _FOREIGN_SIGNATURES:
        if data.startswith(signature):
            return name
    if data[344:348] in (b"n+1\0", b"ni1\0"):
        return "a NIfTI volume"
    if data[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1", b"ftypheix"):
        return "an AVIF or HEIC image"
    return _describe_text(data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower())


def _describe_text(head: bytes) -> str:
    for tag, name in _MARKUP:
        if tag in head:
            return name
    if head.startswith(b"<"):
        return "XML text"
    if head and all(9 <= byte < 127 for byte in head):
        return "plain text"
    return "of no known format"


def sniff(data: bytes) -> str | None:
    """The accepted media type that the bytes begin like, or None. Only the first few elements or bytes are looked at.

    ``DICM`` after the 128-byte preamble is DICOM whatever the preamble holds; a data set without a preamble is known
    by its first elements.
    """
    return DICOM if claims_dicom(data) else _sniff_raster(data)


def canonical(declared: str | None) -> str | None:
    """A declared media type without its parameters, in our spelling; None where it says nothing."""
    media_type = (declared or "").partition(";")[0].strip().lower()
    if media_type in _GENERIC:
        return None
    return _ALIASES.get(media_type, media_type)


def _unsupported(what: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        f"{what}. Accepted are {', '.join(ACCEPTED)}.", headers={"Accept-Post": ", ".join(ACCEPTED)}
    )


def _mismatch(declared: str, data: bytes) -> RequestError:
    error = InvalidDicom if declared == DICOM else InvalidImage
    if declared == DICOM and sniff(data) is None:
        return error("Declared as application/dicom, but DICM is missing after the 128-byte preamble.")
    return error(f"Declared as {declared}, but the content is {describe(data)}.")


def resolve(data: bytes, declared: str | None) -> str:
    """The media type to decode the bytes as: what they are, provided that they were not declared as something else.

    Raises ``UnsupportedMediaType`` where the declared type, or an undeclared known format, is not accepted;
    ``InvalidImage`` or ``InvalidDicom`` where the bytes are nothing known or not what they were declared to be.
    """
    expected = canonical(declared)
    if expected is not None and expected not in ACCEPTED:
        raise _unsupported(f"The media type {_printable(expected)} is not supported")
    if not data:
        raise InvalidImage("The file is empty.")
    actual = sniff(data)
    if expected is None and actual is None:
        seen = describe(data)
        if seen == "of no known format":
            raise InvalidImage(f"The file is of no known format: it begins like none of {', '.join(NAMES.values())}.")
        raise _unsupported(f"The file is {seen}")
    if expected is None and actual == DICOM and (other := _sniff_raster(data)):
        raise InvalidDicom(
            f"The file is both DICOM and {NAMES[other]}: declare it as application/dicom to have it read."
        )
    if actual is None or (expected is not None and expected != actual):
        raise _mismatch(expected or "", data)
    return actual


def _printable(media_type: str) -> str:
    """A caller's media type, safe to repeat."""
    return "".join(c for c in media_type[:60] if c.isascii() and (c.isalnum() or c in "/+-._")) or "given"
