"""The sweep erases what no job has, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.blobs.retention import Swept, input_name, job_prefix, result_name, sweep
from core.blobs.store import BlobStore
from core.errors import QueueUnavailable


async def some() -> AsyncIterator[bytes]:
    yield b"data"


async def jobs(store: BlobStore) -> set[str]:
    return {info.name.split("/")[1] async for info in store.listing("jobs")}


async def test_only_old_blobs_of_unknown_jobs_go(store: BlobStore) -> None:
    asked: list[str] = []

    async def is_kept(job_id: str) -> bool:
        asked.append(job_id)
        return job_id == "known"

    for job_id in ("known", "lost"):
        await store.put(input_name(job_id, "t1"), some())
        await store.put(result_name(job_id, 1, "report.json"), some())
    assert await sweep(store, 3600, is_kept) == Swept()
    assert asked == []
    assert await sweep(store, -5, is_kept) == Swept(jobs=1, blobs=2)
    assert sorted(asked) == ["known", "lost"]
    assert await jobs(store) == {"known"}


async def test_without_an_answer_nothing_goes(store: BlobStore) -> None:
    async def is_kept(job_id: str) -> bool:
        raise QueueUnavailable("away")

    await store.put(input_name("lost", "t1"), some())
    with pytest.raises(QueueUnavailable):
        await sweep(store, -5, is_kept)
    assert await jobs(store) == {"lost"}


def test_attempts_write_apart() -> None:
    assert result_name("a", 1, "x") != result_name("a", 2, "x")
    assert all(name.startswith(job_prefix("a") + "/") for name in (input_name("a", "x"), result_name("a", 1, "x")))
