"""What every raster container answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.errors import InputTooLarge

MAX_PIECES: Final = 65_536
"""Pieces that one file may be cut into: chunks, segments, strips, tiles. Each costs about a microsecond here and
several in a decoder; a file of a slice has a few hundred."""


def check_pieces(count: int, what: str) -> None:
    """Raise ``InputTooLarge`` for more than ``MAX_PIECES`` of ``what``, as in "The PNG has too many chunks"."""
    if count > MAX_PIECES:
        raise InputTooLarge(f"{what}: the limit is {MAX_PIECES}.")


@dataclass(frozen=True, slots=True)
class Container:
    """A raster file seen from outside.

    ``height`` and ``width`` are in pixels as stored, before ``orientation`` (1 to 8, as in EXIF) is applied.
    ``frames`` counts frames or pages. ``end`` is the offset in bytes at which the image ends, None where the format
    has no end. ``essence`` is the file without whatever makes no pixels (texts, profiles, previews, later pages): only
    that reaches a decoder, so that nothing hidden in metadata is ever parsed or inflated.
    """

    height: int
    width: int
    essence: bytes
    frames: int = 1
    orientation: int = 1
    end: int | None = None
    # Grey values are stored with white as 0, and the decoder will not turn them.
    white_is_zero: bool = False
    # NumPy's name of the type to see the decoder's values as, where they are not right as they come (TIFF), and whether
    # their bytes are reversed.
    dtype: str | None = None
    swapped: bool = False
    # One grey value of 8 bits a pixel, in codes of JPEG.
    grey_jpeg: bool = False


class BrokenContainer(Exception):
    """The file contradicts its own format; the message names the fault and never quotes the file."""
