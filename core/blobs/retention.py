"""Where the blobs of a job lie, and the sweep that finds those that no job has any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from core.blobs.store import BlobStore

logger = structlog.get_logger("falx.blobs")

_JOBS: Final = "jobs"


def job_prefix(job_id: str) -> str:
    """Under which everything of a job lies."""
    return f"{_JOBS}/{job_id}"


def input_name(job_id: str, name: str) -> str:
    """Where an input of a job lies."""
    return f"{job_prefix(job_id)}/inputs/{name}"


def result_name(job_id: str, attempt: int, name: str) -> str:
    """Where a result lies. Attempts write apart from each other: what one has promised, no other overwrites."""
    return f"{job_prefix(job_id)}/results/{attempt}/{name}"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep erased: jobs, their blobs, and leftovers of broken uploads."""

    jobs: int = 0
    blobs: int = 0
    staged: int = 0


async def sweep(store: BlobStore, older_than_s: float, is_kept: Callable[[str], Awaitable[bool]]) -> Swept:
    """Erase the blobs of every job that ``is_kept`` does not know, once all of them are older than ``older_than_s``.

    They are left behind by uploads that broke off and by attempts that wrote on after their job had been deleted. Keep
    ``older_than_s`` well above the longest upload. Raises what ``is_kept`` raises, ``StorageUnavailable``.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than_s)
    newest: dict[str, datetime] = {}
    async for info in store.listing(_JOBS):
        job_id = info.name.split("/")[1]
        newest[job_id] = max(info.modified, newest.get(job_id, info.modified))
    jobs = blobs = 0
    for job_id, modified in newest.items():
        if modified < before and not await is_kept(job_id):
            blobs += await store.erase(job_prefix(job_id))
            jobs += 1
    staged = await asyncio.to_thread(store.erase_staged, before)
    if jobs or staged:
        logger.info("blobs swept", jobs=jobs, blobs=blobs, staged=staged)
    return Swept(jobs, blobs, staged)
