"""The store does the same in a local folder and on an S3 server: whole, verified, bounded, erased."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from core.blobs.settings import BlobSettings
from core.blobs.store import BlobStore, open_store
from core.errors import (
    InputTooLarge,
    NotFound,
    StorageFull,
    StorageUnavailable,
    StoredDataCorrupt,
    UnsafeConfiguration,
)
from tests.support.blobs import unfinished

MIB = 1024 * 1024


async def chunks(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def breaking(data: bytes, error: Exception) -> AsyncIterator[bytes]:
    async for chunk in chunks(data):
        yield chunk
    raise error


async def collect(parts: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in parts])


async def names(store: BlobStore, prefix: str = "jobs") -> set[str]:
    return {info.name async for info in store.listing(prefix)}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


async def nothing_unfinished(settings: BlobSettings) -> None:
    """Return once the store has cleared away what a broken upload left, which it does behind the upload's end."""

    def clear() -> bool:
        deadline = time.monotonic() + 20
        while (left := unfinished(settings)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return not left

    assert await asyncio.to_thread(clear)


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 99_999, 8 * MIB, 17 * MIB + 3])
async def test_what_is_written_is_read(store: BlobStore, size: int) -> None:
    data = os.urandom(size)
    blob = await store.put("jobs/a/inputs/t1", chunks(data))
    assert (blob.name, blob.size, blob.sha256) == ("jobs/a/inputs/t1", size, digest(data))
    assert await collect(store.read("jobs/a/inputs/t1", blob.sha256)) == data
    info = await store.info("jobs/a/inputs/t1")
    assert info.size == size
    assert abs((datetime.now(UTC) - info.modified).total_seconds()) < 60


async def test_files_go_up_and_down(store: BlobStore, tmp_path: Path) -> None:
    data = os.urandom(2 * MIB + 1)
    (tmp_path / "result").write_bytes(data)
    blob = await asyncio.to_thread(store.upload, "jobs/a/results/1/result", tmp_path / "result")
    assert (blob.size, blob.sha256) == (len(data), digest(data))
    await asyncio.to_thread(store.download, blob.name, tmp_path / "copy", blob.sha256)
    assert (tmp_path / "copy").read_bytes() == data
    with pytest.raises(StoredDataCorrupt):
        store.download(blob.name, tmp_path / "other", digest(b"other"))
    assert files(tmp_path) == ["copy", "result"]


async def test_a_file_that_cannot_be_read_says_so_itself(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.upload("jobs/a/results/1/result", tmp_path / "absent")


@pytest.mark.parametrize(("start", "length"), [(0, 1), (5, 100), (8 * MIB - 2, 4), (9 * MIB, MIB), (0, 0)])
async def test_parts_are_read(store: BlobStore, start: int, length: int) -> None:
    data = os.urandom(10 * MIB)
    await store.put("jobs/a/inputs/t1", chunks(data))
    parts = store.read_range("jobs/a/inputs/t1", digest(data), start, length)
    assert await collect(parts) == data[start : start + length]


async def test_a_changed_blob_never_arrives_whole(store: BlobStore) -> None:
    data = os.urandom(3 * MIB)
    await store.put("jobs/a/inputs/t1", chunks(data))
    parts = store.read("jobs/a/inputs/t1", digest(b"what it was"))
    seen = bytearray(await anext(parts))
    with pytest.raises(StoredDataCorrupt):
        seen += await collect(parts)
    assert 0 < len(seen) < len(data)


async def test_no_part_of_a_changed_blob_arrives_whole(store: BlobStore) -> None:
    """Wherever the change is: a part is sound only where the whole is."""
    data = os.urandom(3 * MIB)
    await store.put("jobs/a/inputs/t1", chunks(data))
    other = digest(b"what it was")
    for start, length in ((0, 1), (1000, 1000), (len(data) - 1, 1)):
        with pytest.raises(StoredDataCorrupt):
            await anext(store.read_range("jobs/a/inputs/t1", other, start, length))
    parts = store.read_range("jobs/a/inputs/t1", other, 0, 2 * MIB)
    seen = bytearray(await anext(parts))
    with pytest.raises(StoredDataCorrupt):
        seen += await collect(parts)
    assert bytes(seen) == data[: len(seen)]
    assert len(seen) < 2 * MIB


@pytest.mark.parametrize("size", [10, 9 * MIB])
async def test_an_upload_that_breaks_off_leaves_nothing(store: BlobStore, settings: BlobSettings, size: int) -> None:
    # ConnectionResetError is an OSError, as errors of the store are; it must stay what it is.
    with pytest.raises(ConnectionResetError, match="hung up"):
        await store.put("jobs/a/inputs/t1", breaking(os.urandom(size), ConnectionResetError("hung up")))
    assert await names(store) == set()
    await nothing_unfinished(settings)


async def test_a_cancelled_upload_leaves_nothing(store: BlobStore, settings: BlobSettings) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(store.put("jobs/a/inputs/t1", endless()))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(store) == set()
    if settings.blobs_endpoint is None:
        # An S3 store learns nothing of a cancelled upload; a rule of the bucket ends it.
        await nothing_unfinished(settings)


async def test_a_name_holds_the_old_blob_until_the_new_one_is_whole(store: BlobStore) -> None:
    old, new = os.urandom(MIB), os.urandom(9 * MIB)
    await store.put("jobs/a/inputs/t1", chunks(old))
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield new[: 8 * MIB + 1]
        halfway.set()
        await go_on.wait()
        yield new[8 * MIB + 1 :]

    task = asyncio.create_task(store.put("jobs/a/inputs/t1", slow()))
    await halfway.wait()
    assert await collect(store.read("jobs/a/inputs/t1", digest(old))) == old
    go_on.set()
    await task
    assert await collect(store.read("jobs/a/inputs/t1", digest(new))) == new


async def test_a_limit_per_blob(store: BlobStore) -> None:
    await store.put("jobs/a/inputs/t1", chunks(bytes(1000)), max_bytes=1000)
    with pytest.raises(InputTooLarge, match="1000 bytes"):
        await store.put("jobs/a/inputs/t2", chunks(bytes(1001)), max_bytes=1000)
    assert await names(store) == {"jobs/a/inputs/t1"}


async def test_a_limit_for_all_together(settings: BlobSettings) -> None:
    await open_store(settings).put("jobs/a/inputs/t1", chunks(bytes(3 * MIB)))
    store = open_store(settings.model_copy(update={"blobs_max_bytes": 5 * MIB}))
    with pytest.raises(StorageFull):
        await store.put("jobs/b/inputs/t1", chunks(bytes(3 * MIB)))
    # What the refused upload took is given back.
    await store.put("jobs/b/inputs/t2", chunks(bytes(2 * MIB)))
    with pytest.raises(StorageFull):
        await store.put("jobs/b/inputs/t3", chunks(b""))
    assert await names(store) == {"jobs/a/inputs/t1", "jobs/b/inputs/t2"}
    await store.erase("jobs/a")
    await store.put("jobs/c/inputs/t1", chunks(bytes(3 * MIB)))


async def test_a_full_disk_is_refused_before_it_is_full(local_settings: BlobSettings) -> None:
    open_store(local_settings)
    free = shutil.disk_usage(local_settings.blobs_url).free
    store = open_store(local_settings.model_copy(update={"blobs_min_free_bytes": free + 100 * MIB}))
    with pytest.raises(StorageFull):
        await store.put("jobs/a/inputs/t1", chunks(b"x"))


FULL_DISK = """
import asyncio, sys
from core.blobs.settings import BlobSettings
from core.blobs.store import open_store
from core.errors import StorageFull
async def data():
    for _ in range(20):
        yield bytes(1024 * 1024)
store = open_store(BlobSettings(blobs_url=sys.argv[1], blobs_min_free_bytes=0))
async def main():
    try:
        await store.put("jobs/a/inputs/t1", data())
    except StorageFull:
        return "full", [info.name async for info in store.listing("jobs")]
print(asyncio.run(main()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system")
def test_a_disk_that_fills_during_an_upload(tmp_path: Path) -> None:
    """The check of free bytes is switched off here, so that it is the kernel that refuses."""
    folder = tmp_path / "small"
    folder.mkdir()
    script = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    result = subprocess.run(
        [*command, "sh", str(folder), sys.executable, FULL_DISK], capture_output=True, text=True, cwd=Path.cwd()
    )
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip("this machine lets nobody mount")
    assert result.stdout.strip() == "('full', [])", result.stderr


MEMORY = """
import asyncio, resource, sys
from core.blobs.settings import BlobSettings
from core.blobs.store import open_store
def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
async def data():
    for _ in range(100):
        yield bytes(1024 * 1024)
async def main():
    store = open_store(BlobSettings(blobs_url=sys.argv[1], blobs_min_free_bytes=0))
    before = peak_mib()
    blob = await store.put("jobs/a/inputs/t1", data())
    size = 0
    async for part in store.read(blob.name, blob.sha256):
        size += len(part)
    print(size == blob.size == 100 * 1024 * 1024, peak_mib() - before < 60)
asyncio.run(main())
"""


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """100 MiB pass through a process whose memory grows by little more than half of that."""
    result = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True)
    assert result.stdout.strip() == "True True", result.stderr


async def test_a_prefix_is_erased_and_nothing_beside_it(store: BlobStore) -> None:
    for name in ("jobs/a/inputs/t1", "jobs/a/results/1/x", "jobs/ab/inputs/t1", "jobs/b/inputs/t1"):
        await store.put(name, chunks(b"data"))
    assert await store.erase("jobs/a") == 2
    assert await names(store) == {"jobs/ab/inputs/t1", "jobs/b/inputs/t1"}
    assert await store.erase("jobs/a") == 0
    assert await store.erase("jobs/b/inputs/t1") == 1


async def test_two_that_erase_at_the_same_time(store: BlobStore) -> None:
    for index in range(20):
        await store.put(f"jobs/a/inputs/{index}", chunks(b"data"))
    await asyncio.gather(*(store.erase("jobs/a") for _ in range(3)))
    assert await names(store) == set()


async def test_what_is_not_there(store: BlobStore) -> None:
    with pytest.raises(NotFound):
        await store.info("jobs/a/none")
    with pytest.raises(NotFound):
        await collect(store.read("jobs/a/none", digest(b"")))
    with pytest.raises(NotFound):
        await collect(store.read_range("jobs/a/none", digest(b""), 0, 1))
    await store.ping()


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "a b", "a#1", "a\0", "ä", "a" * 600]
)
async def test_names_cannot_lead_out_of_the_store(store: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await store.put(name, chunks(b"data"))
    with pytest.raises(ValueError, match="name"):
        await store.erase(name)


async def test_a_store_that_is_away() -> None:
    settings = BlobSettings(blobs_url="s3://falx-test/x", blobs_endpoint="http://127.0.0.1:1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        store = open_store(settings)
        with pytest.raises(StorageUnavailable) as caught:
            await store.ping()
    assert "127.0.0.1" not in caught.value.detail


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "s3:///x", "s3://bucket/../x"])
def test_bad_addresses(url: str) -> None:
    with pytest.raises(UnsafeConfiguration):
        open_store(BlobSettings(blobs_url=url))


def test_a_local_folder_by_url_is_private(tmp_path: Path) -> None:
    open_store(BlobSettings(blobs_url=f"file://{tmp_path}/a%20b/blobs"))
    assert (tmp_path / "a b" / "blobs").stat().st_mode & 0o777 == 0o700


async def test_leftovers_of_killed_uploads(local_settings: BlobSettings) -> None:
    store = open_store(local_settings)
    await store.put("jobs/a/inputs/t1", chunks(b"data"))
    staged = Path(local_settings.blobs_url) / "jobs" / "a" / "inputs" / "t2#1"
    staged.write_bytes(b"half")
    assert await names(store) == {"jobs/a/inputs/t1"}
    assert store.erase_staged(datetime.now(UTC) - timedelta(hours=1)) == 0
    os.utime(staged, (time.time() - 7200, time.time() - 7200))
    assert store.erase_staged(datetime.now(UTC) - timedelta(hours=1)) == 1
    assert await names(store) == {"jobs/a/inputs/t1"}
