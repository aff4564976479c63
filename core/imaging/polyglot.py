"""Files that are two things at once: an image, and something else for another reader."""

from __future__ import annotations

import re
from typing import Final

from core.errors import InvalidImage

# What may hide behind the end of an image. Alone, each is refused as a format; here it makes the file a polyglot.
_HIDDEN: Final = re.compile(
    rb"(?i:(?P<markup><(?:script|html|svg|!doctype|\?php|iframe)))"
    rb"|(?P<zip>PK(?:\x03\x04|\x05\x06))|(?P<pdf>%PDF-)|(?P<elf>\x7fELF)|(?P<rar>Rar!\x1a\x07)"
    rb"|(?P<sevenzip>7z\xbc\xaf\x27\x1c)|(?P<gif>GIF8[79]a)|(?P<program>\AMZ)|(?P<script>\A#!)"
)
_NAMES: Final = {
    "markup": "markup",
    "zip": "a ZIP archive",
    "pdf": "a PDF document",
    "elf": "an ELF program",
    "rar": "a RAR archive",
    "sevenzip": "a 7z archive",
    "gif": "a GIF image",
    "program": "a Windows program",
    "script": "a script",
}
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
    if found := _HIDDEN.search(tail):
        raise InvalidImage(f"Polyglot: behind the end of the image follows {_NAMES[str(found.lastgroup)]}.")
    if not tail.strip(b"\0\r\n"):
        return ()
    return (f"{len(tail)} bytes behind the end of the image were ignored.",)
