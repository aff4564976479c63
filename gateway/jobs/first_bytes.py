"""What can be told of an upload from its first bytes, so that a wrong file is refused before it is stored.

The gateway touches no pixels: it looks at signatures and at a few numbers of the header. The worker, which has the
libraries for it, judges the whole file.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Final, NamedTuple, Protocol

from core.contracts.jobs import LONGEST_SIDE, MOST_VOXELS
from core.errors import FalxError, FieldError, InputTooLarge, InvalidDicom, InvalidNifti, TooFewSlices, UnusableVolume

NIFTI: Final = "application/x-nifti"
GZIP: Final = "application/gzip"
ZIP: Final = "application/zip"

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZIP_MAGIC: Final = b"PK\x03\x04"
_EMPTY_ZIP: Final = b"PK\x05\x06"
_DICOM_AT: Final = slice(128, 132)
# The longer of the two headers; gzip may put names and comments before it.
_NEEDED: Final = 540
_MOST_HELD: Final = 256 * 1024


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
        if len(self._head) < _NEEDED:
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
            self._inflater = zlib.decompressobj(wbits=31)
            chunk = self._held
        if self._inflater is None:
            self._head = self._held[:_NEEDED] if len(self._held) > 1 else b""
            return
        try:
            self._head += self._inflater.decompress(chunk, _NEEDED - len(self._head))
        except zlib.error as error:
            raise self._broken("Its gzip data is broken.") from error

    def _judged(self) -> bytes:
        try:
            announced = announced_bytes(self._head)
        except FalxError as error:
            raise _at(self._part, error) from error
        self._announced = announced if self._inflater is None else None
        self._sound = True
        ready, self._held = self._held, b""
        return ready

    def _broken(self, detail: str) -> FalxError:
        return _at(self._part, InvalidNifti(detail))


class _Layout(NamedTuple):
    """Where a version of NIfTI keeps what is looked at: formats of ``struct`` and offsets in bytes."""

    magic: bytes
    magic_at: int
    dim: tuple[str, int]
    bitpix: tuple[str, int]
    pixdim: tuple[str, int]
    vox_offset: tuple[str, int]


# By sizeof_hdr. https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h beside it.
_LAYOUTS: Final = {
    348: _Layout(b"n+1\0", 344, ("8h", 40), ("h", 72), ("8f", 76), ("f", 108)),
    540: _Layout(b"n+2\0\r\n\x1a\n", 4, ("8q", 16), ("h", 14), ("8d", 104), ("q", 168)),
}


def announced_bytes(head: bytes) -> int:
    """Bytes that a file with this header has at least, voxels included.

    Raises ``InvalidNifti``, ``UnusableVolume`` (several frames), ``TooFewSlices`` or ``InputTooLarge``.
    """
    order, layout = _layout(head)

    def field(place: tuple[str, int]) -> tuple[float, ...]:
        return struct.unpack_from(f"{order}{place[0]}", head, place[1])

    voxels = _voxels([int(value) for value in field(layout.dim)])
    (bits,), (offset,) = field(layout.bitpix), field(layout.vox_offset)
    if not all(math.isfinite(value) and value > 0 for value in field(layout.pixdim)[1:4]):
        raise InvalidNifti("pixdim holds a voxel spacing that is not a number above 0.")
    if not math.isfinite(offset) or offset < 0 or bits <= 0:
        raise InvalidNifti("vox_offset or bitpix is not a sensible number.")
    return int(offset) + voxels * int(bits) // 8


def _layout(head: bytes) -> tuple[str, _Layout]:
    for order in "<>":
        size = struct.unpack_from(f"{order}i", head)[0] if len(head) >= 4 else 0
        layout = _LAYOUTS.get(size)
        if layout is None:
            continue
        if len(head) < size:
            raise InvalidNifti("The file ends inside its header.")
        if head[layout.magic_at :][: len(layout.magic)] != layout.magic:
            raise InvalidNifti("Its magic string is missing; send one .nii or .nii.gz file, not a .hdr/.img pair.")
        return order, layout
    if head[_DICOM_AT] == b"DICM":
        raise InvalidNifti("The file is DICOM; send a whole study as a zip in the part dicom.")
    raise InvalidNifti("The file is not NIfTI: it does not begin with the size of a NIfTI header.")


def _voxels(dim: list[int]) -> int:
    rank, *sizes = dim
    if not 1 <= rank <= 7:
        raise InvalidNifti(f"dim[0] is {rank}, it counts the dimensions and is 1 to 7.")
    if min(sizes[:rank]) < 1:
        raise InvalidNifti("dim holds a size below 1: there are no voxels.")
    if rank < 3:
        raise TooFewSlices("The file holds one slice, a volume is needed.")
    if math.prod(sizes[3:rank]) > 1:
        raise UnusableVolume("The file holds several frames, one is needed.")
    if max(sizes[:3]) > LONGEST_SIDE or math.prod(sizes[:3]) > MOST_VOXELS:
        raise InputTooLarge(f"The volume may have {LONGEST_SIDE} voxels a side and {MOST_VOXELS} in all.")
    return math.prod(sizes[:3])


def _at(part: str, error: FalxError) -> FalxError:
    """``error`` with the name of the part."""
    return type(error)(f"{part}: {error.detail}", errors=[FieldError(f"part/{part}", error.detail)])
