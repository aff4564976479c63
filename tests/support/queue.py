"""What tests do to the queue of jobs by hand: submit, and change records as a worker would."""

from __future__ import annotations

from typing import Any, cast

from core.contracts.jobs import JobRecord, JobRequest, Priority, Progress
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore, ended, now


async def submit(queue: JobQueue, priority: Priority = "routine", job_id: str | None = None) -> JobRecord:
    return (await queue.submit(JobRequest(priority=priority), (), job_id=job_id)).record


async def start(store: JobStore, job_id: str) -> JobRecord | None:
    fields = {"status": "running", "started_at": now(), "attempts": 1}
    return await store.change(job_id, lambda record: record.model_copy(update=fields))


async def advance(store: JobStore, job_id: str, progress: Progress) -> None:
    await store.change(job_id, lambda record: record.model_copy(update={"progress": progress}))


async def succeed(store: JobStore, job_id: str, retention_s: float = 60) -> None:
    await start(store, job_id)
    await store.change(job_id, lambda record: ended(record, "succeeded", retention_s))


async def docket_message(store: JobStore, priority: Priority) -> dict[Any, Any]:
    """The first message in the stream of a docket."""
    found = await store.client.xrange(f"{store.keys.docket(priority)}:stream", count=1)
    (_, message), *_ = cast("list[tuple[bytes, dict[Any, Any]]]", found)
    return message


async def docket_length(store: JobStore, priority: Priority) -> int:
    return int(await store.client.xlen(f"{store.keys.docket(priority)}:stream"))
