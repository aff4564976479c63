"""What can be told of an upload from its first bytes, so that a wrong file is refused before it is stored.

The gateway touches no pixels: it looks at signatures, and judges a NIfTI header as the worker does. The worker, which
has the libraries for it, judges the whole file.
"""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from core.contracts.nifti import LONGEST_HEADER, NiftiHeader, header_size, parse_header
from core.contracts.volume_limits import VolumeLimits
from core.errors import FalxError, FieldError, InvalidDicom, InvalidNifti

NIFTI: Final = "application/x-nifti"
GZIP: Final = "application/gzip"
ZIP: Final = "application/zip"

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZIP_MAGIC: Final = b"PK\x03\x04"
_EMPTY_ZIP: Final = b"PK\x05\x06"
_GZIP_WBITS: Final = zlib.MAX_WBITS | 16
# gzip may put names and comments before the header.
_MOST_HELD: Final = 256 * 1024
# The worker's own.
_LIMITS: Final = VolumeLimits()


class Head(Protocol):
    """Looks at a part while it passes. ``feed`` and ``close`` return the bytes that may go on, and raise 4xx errors."""

    media_type: str

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that are judged by now; none as long as there are too few to judge."""

    def close(self) -> bytes:
        """What is left at the end of the part."""


class ZipHead:
    """A zip of a DICOM study."""

    media_type = ZIP

    def __init__(self, part: str) -> None:
        self._part = part
        self._held = b""
        self._sound = False

    def feed(self, chunk: bytes) -> bytes:
        """See ``Head``."""
        if self._sound:
            return chunk
        self._held += chunk
        if len(self._held) < len(_ZIP_MAGIC):
            return b""
        if self._held.startswith(_EMPTY_ZIP):
            raise _at(self._part, InvalidDicom("The zip holds no files."))
        if not self._held.startswith(_ZIP_MAGIC):
            raise _at(self._part, InvalidDicom("The part is not a zip archive; put the files of one study into one."))
        self._sound = True
        ready, self._held = self._held, b""
        return ready

    def close(self) -> bytes:
        """See ``Head``."""
        if not self._sound:
            raise _at(self._part, InvalidDicom("The part is too short to be a zip archive."))
        return b""


class NiftiHead:
    """A NIfTI volume, gzip or not."""

    def __init__(self, part: str) -> None:
        self.media_type = NIFTI
        self._part = part
        self._held = b""
        self._head = b""
        self._size = 0
        # Bytes that the header announces; None while it is not known, and for gzip, where only the worker inflates.
        self._announced: int | None = None
        self._sound = False
        self._inflater: zlib._Decompress | None = None

    def feed(self, chunk: bytes) -> bytes:
        """See ``Head``."""
        self._size += len(chunk)
        if self._sound:
            return chunk
        self._held += chunk
        self._collect(chunk)
        if len(self._head) < LONGEST_HEADER:
            if len(self._held) > _MOST_HELD:
                raise self._broken(f"There is no NIfTI header in its first {_MOST_HELD} bytes.")
            return b""
        return self._judged()

    def close(self) -> bytes:
        """See ``Head``."""
        # A NIfTI-1 file of a few voxels may be shorter than the header of NIfTI-2.
        rest = b"" if self._sound else self._judged()
        if self._announced is not None and self._size < self._announced:
            raise self._broken(f"The file ends after {self._size} bytes; its header announces {self._announced}.")
        return rest

    def _collect(self, chunk: bytes) -> None:
        if not self._head and self._inflater is None and self._held[:2] == _GZIP_MAGIC:
            self.media_type = GZIP
            self._inflater = zlib.decompressobj(wbits=_GZIP_WBITS)
            chunk = self._held
        if self._inflater is None:
            self._head = self._held[:LONGEST_HEADER] if len(self._held) > 1 else b""
            return
        try:
            while chunk and len(self._head) < LONGEST_HEADER:
                if self._inflater.eof:
                    self._inflater = zlib.decompressobj(wbits=_GZIP_WBITS)
                self._head += self._inflater.decompress(chunk, LONGEST_HEADER - len(self._head))
                # Where a member ends, the next one may hold the rest of the header.
                chunk = self._inflater.unused_data
        except zlib.error as error:
            raise self._broken("Its gzip data is broken.") from error

    def _judged(self) -> bytes:
        try:
            announced = judged_header(self._head).announced_bytes
        except FalxError as error:
            raise _at(self._part, error) from error
        self._announced = announced if self._inflater is None else None
        self._sound = True
        ready, self._held = self._held, b""
        return ready

    def _broken(self, detail: str) -> FalxError:
        return _at(self._part, InvalidNifti(detail))


def judged_header(head: bytes) -> NiftiHeader:
    """The header that the first bytes of a file hold, judged as the worker judges it.

    Raises ``InvalidNifti``, ``UnusableVolume`` (several frames, colour), ``TooFewSlices`` or ``InputTooLarge``.
    """
    size = header_size(head)
    if len(head) < size:
        raise InvalidNifti("The file ends inside its header.")
    return parse_header(head[:size], _LIMITS)


def _at(part: str, error: FalxError) -> FalxError:
    """``error`` with the name of the part."""
    return type(error)(f"{part}: {error.detail}", errors=[FieldError(f"part/{part}", error.detail)])
