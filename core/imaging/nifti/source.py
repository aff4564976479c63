"""The bytes of a NIfTI file, gzip or not, from first to last and never more at once than asked for."""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from core.contracts.volume_limits import VolumeLimits
from core.errors import DecompressionBomb, InvalidNifti

_GZIP: Final = b"\x1f\x8b"
_CHUNK: Final = 256 * 1024
# Blocked gzip begins a member every 64 KiB; an empty member takes 20 bytes of a file and some time to open.
_MAX_MEMBERS: Final = 65_536
# What may follow the voxels before the file counts as a bomb.
_MAX_TAIL: Final = 1024 * 1024


class Readable(Protocol):
    """A file, or what reads like one: at most ``size`` bytes, none at its end."""

    def read(self, size: int, /) -> bytes: ...


class NiftiSource:
    """Takes exactly as many bytes as asked for; every failure is a ``RequestError``."""

    def __init__(self, file: Readable, limits: VolumeLimits) -> None:
        self._file = file
        self._limits = limits
        self._stored = 0
        self._inflater: zlib._Decompress | None = None
        self._members = 0
        self._pending = self._read_stored()
        if self._pending.startswith(_GZIP):
            self._begin_member()

    @property
    def compressed(self) -> bool:
        """Whether the file is gzip."""
        return self._inflater is not None

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes.

        Raises ``InvalidNifti`` where the file ends before or its gzip is broken, ``InputTooLarge`` beyond the limit.
        """
        parts, missing = [], size
        while missing:
            part = self._some(missing)
            if not part:
                raise InvalidNifti("The file ends before its last voxel: it is truncated.")
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Read to the end of a gzip file, whose checksum stands there; of a plain file nothing more is needed.

        Raises ``InvalidNifti`` for a wrong checksum, ``DecompressionBomb`` for much more than the header declares.
        """
        tail = 0
        while self.compressed and (part := self._some(_CHUNK)):
            tail += len(part)
            if tail > _MAX_TAIL:
                raise DecompressionBomb(f"The file goes on for more than {_MAX_TAIL} bytes behind its last voxel.")

    def _some(self, size: int) -> bytes:
        """From 1 to ``size`` bytes, none at the end."""
        if self._inflater is None:
            part = self._stored_bytes()[:size]
            self._pending = self._pending[len(part) :]
            return part
        try:
            return self._inflated(self._inflater, size)
        except zlib.error as error:
            raise InvalidNifti("The gzip data are broken.") from error

    def _inflated(self, inflater: zlib._Decompress, size: int) -> bytes:
        while True:
            if inflater.eof:
                self._pending = inflater.unused_data or self._read_stored()
                # Some tools fill up the last block of a tape or file system with zeros.
                while self._pending and not self._pending.strip(b"\0"):
                    self._pending = self._read_stored()
                if not self._pending:
                    return b""
                inflater = self._begin_member()
            stored = self._stored_bytes()
            if not stored:
                raise InvalidNifti("The gzip data end early: the file is truncated.")
            part = inflater.decompress(stored, size)
            self._pending = inflater.unconsumed_tail
            if part:
                return part

    def _begin_member(self) -> zlib._Decompress:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise InvalidNifti(f"The gzip data have more than {_MAX_MEMBERS} members.")
        self._inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        return self._inflater

    def _stored_bytes(self) -> bytes:
        self._pending = self._pending or self._read_stored()
        return self._pending

    def _read_stored(self) -> bytes:
        part = self._file.read(_CHUNK)
        self._stored += len(part)
        self._limits.check_bytes(self._stored)
        return part
