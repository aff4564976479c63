"""Inputs and results of one attempt at a job, as files that a pipeline reads and writes.

Nothing that has a name is left on this machine, however the process ends: it may be of a patient.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from core.blobs.retention import result_name
from core.blobs.settings import BlobSettings
from core.blobs.store import BlobStore, open_store
from core.contracts.jobs import JobRecord, StoredFile

_CHUNK_BYTES: Final = 1024 * 1024


class BlobReader:
    """A blob as a file that is read from front to back; a megabyte of it is in memory.

    ``read`` raises ``StoredDataCorrupt`` in place of the last bytes where the whole is not what was written.
    """

    def __init__(self, runner: asyncio.Runner, chunks: AsyncIterator[bytes]) -> None:
        self._runner = runner
        self._chunks = chunks
        self._pending = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, none at the end."""
        if not self._pending:
            self._pending = memoryview(self._runner.run(self._next()))
        part, self._pending = self._pending[:size], self._pending[size:]
        return bytes(part)

    async def _next(self) -> bytes:
        return await anext(self._chunks, b"")

    def drain(self) -> None:
        """Read what is left, so that the whole has been verified."""
        while self.read(_CHUNK_BYTES):
            pass


class JobFiles:
    """The files of ``record``'s attempt in ``store``; for one thread, which may block."""

    def __init__(self, store: BlobStore, record: JobRecord, runner: asyncio.Runner) -> None:
        self._store = store
        self._record = record
        self._runner = runner

    def reader(self, file: StoredFile) -> BlobReader:
        """An input, to be read once."""
        return BlobReader(self._runner, self._store.read(file.blob, file.sha256))

    @contextmanager
    def local(self, file: StoredFile) -> Iterator[BinaryIO]:
        """An input, whole and verified, as a file in which one can seek. Raises ``StoredDataCorrupt``."""
        with tempfile.TemporaryFile() as copy:
            reader = self.reader(file)
            while chunk := reader.read(_CHUNK_BYTES):
                copy.write(chunk)
            copy.seek(0)
            yield copy

    def save(self, name: str, media_type: str, write: Callable[[BinaryIO], object]) -> StoredFile:
        """Store a result, which ``write`` writes to a file. Raises ``StorageFull``, ``StorageUnavailable``."""
        with tempfile.TemporaryFile() as file:
            write(file)
            file.seek(0)
            place = result_name(self._record.id, self._record.attempts, name)
            blob = self._runner.run(self._store.put(place, _chunks(file)))
        return StoredFile(name=name, media_type=media_type, size=blob.size, sha256=blob.sha256, blob=blob.name)


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


@contextmanager
def open_job_files(record: JobRecord) -> Iterator[JobFiles]:
    """The files of a job in the store that the environment names."""
    with asyncio.Runner() as runner:
        yield JobFiles(open_store(BlobSettings()), record, runner)
