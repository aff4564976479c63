"""Files that are two things at once: an image, and something else for another reader."""

from __future__ import annotations

from typing import Final

from core.errors import InvalidImage

# What may hide behind the end of an image. Alone, each is refused as a format; here it makes the file a polyglot. Each
# is searched for by itself: one pattern for all of them takes ten times as long over a tail of many megabytes.
_HIDDEN: Final = {
    b"<script": "markup",
    b"<html": "markup",
    b"<svg": "markup",
    b"<!doctype": "markup",
    b"<?php": "markup",
    b"<iframe": "markup",
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"%PDF-": "a PDF document",
    b"\x7fELF": "an ELF program",
    b"Rar!\x1a\x07": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
}
_AT_START: Final = {b"MZ": "a Windows program", b"#!": "a script"}
# Readers of ZIP look for this record at the end of a file, behind at most 64 KiB of comment.
_ZIP_END: Final = b"PK\x05\x06"
_ZIP_END_SIZE: Final = 22
_ZIP_REACH: Final = 65_535 + _ZIP_END_SIZE
# Readers of PDF accept its signature anywhere in the first KiB.
_PDF: Final = b"%PDF-"
_PDF_REACH: Final = 1_024


def check_whole(data: bytes) -> None:
    """Raise ``InvalidImage`` for a file that readers of ZIP or PDF would open as well, whatever its format."""
    if _PDF in data[:_PDF_REACH]:
        raise InvalidImage("Polyglot: the file is also a PDF document.")
    at = data.rfind(_ZIP_END, max(0, len(data) - _ZIP_REACH))
    while at >= 0:
        comment = int.from_bytes(data[at + 20 : at + _ZIP_END_SIZE], "little")
        if at + _ZIP_END_SIZE + comment == len(data):
            raise InvalidImage("Polyglot: the file is also a ZIP archive.")
        at = data.rfind(_ZIP_END, max(0, len(data) - _ZIP_REACH), at)


def check_tail(tail: bytes) -> tuple[str, ...]:
    """Judge the bytes behind the end of an image: a note that they were ignored, none for padding with zeros.

    Raises ``InvalidImage`` where another file begins in them.
    """
    lower = tail.lower()
    places = {(lower if text[:1] == b"<" else tail).find(text): name for text, name in _HIDDEN.items()}
    places |= {0 if tail.startswith(text) else -1: name for text, name in _AT_START.items()}
    places.pop(-1, None)
    if places:
        raise InvalidImage(f"Polyglot: behind the end of the image follows {places[min(places)]}.")
    if not tail.strip(b"\0\r\n"):
        return ()
    return (f"{len(tail)} bytes behind the end of the image were ignored.",)
