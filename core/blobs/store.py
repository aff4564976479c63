"""The store: whole blobs under names, written once, in a local folder or an S3-compatible service."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, S3Store

from core.blobs.guards import Check, corrupt, reading, storing
from core.blobs.quota import Quota, Reservation
from core.blobs.settings import BlobSettings
from core.errors import (
    InputTooLarge,
    NotFound,
    UnsafeConfiguration,
)

# As core.contracts.jobs.BlobName says: no segment starts with a dot, so none leads out of the store.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_NAME_LIMIT: Final = 512
# A part of an upload: at least 5 MiB on S3. An upload holds about three of them in memory.
_PART_BYTES: Final = 8 * 1024 * 1024
_PARTS_AT_ONCE: Final = 2
_CHUNK_BYTES: Final = 1024 * 1024
_DELETE_BATCH: Final = 1000
# A file that an upload to a local store left when its process was killed: NAME#1.
_STAGED: Final = re.compile(r".+#\d+")


@dataclass(frozen=True, slots=True)
class Blob:
    """What was written; ``size`` in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What is stored; ``size`` in bytes, ``modified`` in UTC."""

    name: str
    size: int
    modified: datetime


class BlobStore:
    """Blobs by name. Made by ``open_store``.

    A blob is visible only once it is whole, and never changes under a reader. Its sha256 is for the caller to keep,
    apart from it, and to give back on reading. Names that are none raise ``ValueError``; every method raises
    ``StorageUnavailable``, and ``NotFound`` for a blob that is not there.
    """

    def __init__(self, backend: LocalStore | S3Store, folder: Path | None, quota: Quota | None = None) -> None:
        self._backend = backend
        self._folder = folder
        self._quota = quota or Quota(self.total_bytes, None, folder, 0)

    async def put(self, name: str, chunks: AsyncIterable[bytes], *, max_bytes: int | None = None) -> Blob:
        """Store what ``chunks`` yields; a few parts of it are in memory at a time.

        Raises ``InputTooLarge`` above ``max_bytes``, ``StorageFull``, and whatever ``chunks`` raises. Nothing is
        stored then.
        """
        check_name(name)
        digest = hashlib.sha256()
        with storing():
            await asyncio.to_thread(self._quota.refresh)
            with self._quota.reserve() as reservation:
                size = 0

                async def measured() -> AsyncIterator[bytes]:
                    nonlocal size
                    with reading():
                        async for chunk in chunks:
                            size = _taken(reservation, size, len(chunk), max_bytes)
                            digest.update(chunk)
                            yield chunk

                await obstore.put_async(
                    self._backend,
                    name,
                    measured(),
                    use_multipart=True,
                    chunk_size=_PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )
                await asyncio.to_thread(self._settle, name)
        return Blob(name, size, digest.hexdigest())

    def upload(self, name: str, path: Path) -> Blob:
        """Store a file, from a thread that may block. Raises ``StorageFull``; nothing is stored then."""
        check_name(name)
        digest = hashlib.sha256()
        with storing():
            self._quota.refresh()
            with self._quota.reserve() as reservation:
                size = 0

                def measured() -> Iterator[bytes]:
                    nonlocal size
                    with reading(), path.open("rb") as file:
                        while chunk := file.read(_CHUNK_BYTES):
                            size = _taken(reservation, size, len(chunk), None)
                            digest.update(chunk)
                            yield chunk

                obstore.put(
                    self._backend,
                    name,
                    measured(),
                    use_multipart=True,
                    chunk_size=_PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )
                self._settle(name)
        return Blob(name, size, digest.hexdigest())

    def _settle(self, name: str) -> None:
        """Let a local file reach the disk itself, so that it survives the loss of power as the job's record does."""
        if self._folder is None:
            return
        path = self._folder / name
        for place in (path, path.parent):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    async def read(self, name: str, sha256: str) -> AsyncIterator[bytes]:
        """The whole blob. Raises ``StoredDataCorrupt`` instead of the last chunk if its sha256 is another."""
        check_name(name)
        with storing():
            answer = await obstore.get_async(self._backend, name)
            check = Check(sha256)
            async for chunk in answer.stream(_CHUNK_BYTES):
                if (ready := check.add(bytes(chunk))) is not None:
                    yield ready
        for ready in check.last():
            yield ready

    def download(self, name: str, path: Path, sha256: str) -> None:
        """Write the whole blob to ``path``, from a thread that may block; the file appears once it is verified.

        Raises ``StoredDataCorrupt``.
        """
        check_name(name)
        partial = path.with_name(path.name + ".part")
        try:
            with storing(), partial.open("wb") as file:
                check = Check(sha256)
                for chunk in obstore.get(self._backend, name).stream(_CHUNK_BYTES):
                    if (ready := check.add(bytes(chunk))) is not None:
                        file.write(ready)
                for ready in check.last():
                    file.write(ready)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    async def read_range(self, name: str, sha256: str, start: int, length: int) -> AsyncIterator[bytes]:
        """``length`` bytes from offset ``start``; the whole blob is read, as only the whole can be verified.

        Raises ``StoredDataCorrupt`` instead of the last chunk if the sha256 of the blob is another.
        """
        check_name(name)
        digest, at, held = hashlib.sha256(), 0, b""
        with storing():
            answer = await obstore.get_async(self._backend, name)
            async for piece in answer.stream(_CHUNK_BYTES):
                chunk = bytes(piece)
                digest.update(chunk)
                wanted = chunk[max(0, start - at) : max(0, start + length - at)]
                at += len(chunk)
                if wanted:
                    if held:
                        yield held
                    held = wanted
        if digest.hexdigest() != sha256:
            raise corrupt()
        if held:
            yield held

    async def info(self, name: str) -> BlobInfo:
        """Size and age of a blob."""
        check_name(name)
        with storing():
            meta = await obstore.head_async(self._backend, name)
        return BlobInfo(name, meta["size"], meta["last_modified"])

    async def listing(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """All blobs whose names begin with the segments of ``prefix``, in no order."""
        check_name(prefix)
        with storing():
            async for batch in obstore.list(self._backend, prefix=prefix):
                for meta in batch:
                    yield BlobInfo(meta["path"], meta["size"], meta["last_modified"])

    async def erase(self, prefix: str) -> int:
        """Erase the blob or all blobs under ``prefix``, leftovers of broken uploads too; how many there were."""
        check_name(prefix)
        found = [info async for info in self.listing(prefix)]
        if not found:
            found = await self._single(prefix)
        with storing():
            for start in range(0, len(found), _DELETE_BATCH):
                await self._delete([info.name for info in found[start : start + _DELETE_BATCH]])
            if self._folder is not None:
                await asyncio.to_thread(shutil.rmtree, self._folder / prefix, ignore_errors=True)
        self._quota.give_back(sum(info.size for info in found))
        return len(found)

    async def _single(self, name: str) -> list[BlobInfo]:
        try:
            return [await self.info(name)]
        except NotFound:
            return []

    async def _delete(self, names: list[str]) -> None:
        try:
            await obstore.delete_async(self._backend, names)
        except FileNotFoundError:
            # Somebody else erases at the same time; what he left is erased one by one.
            for name in names:
                try:
                    await obstore.delete_async(self._backend, [name])
                except FileNotFoundError:
                    continue

    async def ping(self) -> None:
        """Return if the store answers."""
        with storing():
            await anext(aiter(obstore.list(self._backend, prefix="ping", chunk_size=1)), None)

    def total_bytes(self) -> int:
        """Bytes of all blobs together; blocks while it lists them."""
        with storing():
            return sum(meta["size"] for batch in obstore.list(self._backend) for meta in batch)

    def erase_staged(self, before: datetime) -> int:
        """Erase what uploads to a local store left that broke off before ``before`` (UTC); how many. Blocks.

        An S3 store forgets unfinished uploads by a rule of the bucket.
        """
        if self._folder is None:
            return 0
        erased = 0
        for path in self._folder.rglob("*#*"):
            if _STAGED.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < before.timestamp():
                path.unlink(missing_ok=True)
                erased += 1
        return erased


def _taken(reservation: Reservation, size: int, more: int, max_bytes: int | None) -> int:
    total = size + more
    if max_bytes is not None and total > max_bytes:
        raise InputTooLarge(f"The file has more than {max_bytes} bytes, which is the limit.")
    reservation.grow(more)
    return total


def check_name(name: str) -> None:
    """Raise ``ValueError`` for what cannot be the name of a blob."""
    if len(name) > _NAME_LIMIT or not _NAME.fullmatch(name):
        raise ValueError("not a blob's name")


def open_store(settings: BlobSettings) -> BlobStore:
    """The store that ``settings`` name; a local folder is made. Raises ``UnsafeConfiguration`` for a bad address."""
    scheme, separator, rest = settings.blobs_url.partition("://")
    kind: Literal["s3", "local"] = "s3" if separator and scheme == "s3" else "local"
    if separator and scheme not in {"s3", "file"}:
        raise UnsafeConfiguration("FALX_BLOBS_URL must be a folder, file:// or s3://.")
    if kind == "s3":
        bucket, _, prefix = rest.partition("/")
        if not bucket or (prefix.strip("/") and not _NAME.fullmatch(prefix.strip("/"))):
            raise UnsafeConfiguration("FALX_BLOBS_URL: s3:// needs a bucket and takes a prefix of plain names.")
        return _with_quota(_s3(bucket, prefix.strip("/"), settings.blobs_endpoint), None, settings)
    folder = Path(unquote(urlsplit(settings.blobs_url).path) if separator else settings.blobs_url).resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _with_quota(LocalStore(folder, automatic_cleanup=True), folder, settings)


def _s3(bucket: str, prefix: str, endpoint: str | None) -> S3Store:
    return S3Store(
        bucket,
        prefix=prefix or None,
        endpoint=endpoint,
        client_options={
            "allow_http": endpoint is not None and endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(seconds=120),
        },
        retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=20)},
    )


def _with_quota(backend: LocalStore | S3Store, folder: Path | None, settings: BlobSettings) -> BlobStore:
    counting = BlobStore(backend, folder)
    quota = Quota(counting.total_bytes, settings.blobs_max_bytes, folder, settings.blobs_min_free_bytes)
    return BlobStore(backend, folder, quota)
