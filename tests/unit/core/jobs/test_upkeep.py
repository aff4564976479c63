"""What the upkeep finds and erases on a real server."""

from __future__ import annotations

import asyncio

import pytest

from core.contracts.jobs import JobRecord, JobRequest
from core.errors import (
    ResultExpired,
)
from core.jobs.queue import JobQueue, new_job_id
from core.jobs.settings import QueueSettings
from core.jobs.store import JobStore, now
from core.jobs.upkeep import Upkeep
from tests.support.queue import docket_length, start, submit, succeed


def upkeep(queue: JobQueue, store: JobStore, settings: QueueSettings, erased: list[str] | None = None) -> Upkeep:
    async def erase(job_id: str) -> None:
        if erased is not None:
            erased.append(job_id)

    return Upkeep(queue._dockets, store, settings, 0.1, erase, "test")


async def test_a_job_that_never_reached_the_docket_is_found(
    queue: JobQueue, store: JobStore, settings: QueueSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a gateway is killed between the record and the docket."""
    record = JobRecord(id=new_job_id(), request=JobRequest(), created_at=now())
    assert await store.create(record, 5, None) == "OK"
    tidy = upkeep(queue, store, settings)
    await tidy.recover()
    assert await docket_length(store, "routine") == 0  # young enough to be on its way
    monkeypatch.setattr("core.jobs.upkeep._GRACE_S", -1.0)
    await tidy.recover()
    await tidy.recover()
    assert await docket_length(store, "routine") == 1


async def test_a_running_job_without_a_worker_is_found(
    queue: JobQueue, store: JobStore, settings: QueueSettings
) -> None:
    lost, alive = await submit(queue), await submit(queue)
    for job in (lost, alive):
        await start(store, job.id)
        await queue._dockets["routine"].cancel(job.id)
    await store.hold(alive.id, "token", 60)
    tidy = upkeep(queue, store, settings)
    await tidy.recover()
    assert await docket_length(store, "routine") == 0
    await asyncio.sleep(0.3)
    await tidy.recover()
    assert await docket_length(store, "routine") == 1


async def test_what_is_past_its_time_is_erased(queue: JobQueue, store: JobStore, settings: QueueSettings) -> None:
    old, new, waiting = [await submit(queue) for _ in range(3)]
    await succeed(store, old.id, retention_s=-1)
    await succeed(store, new.id, retention_s=60)
    erased: list[str] = []
    tidy = upkeep(queue, store, settings, erased)
    await tidy.run(10.0)
    await tidy.run(10.0)
    assert erased == [old.id]
    with pytest.raises(ResultExpired):
        await queue.get(old.id)
    assert {record.id for record in (await queue.page())[0]} == {new.id, waiting.id}
