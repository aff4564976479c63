"""Idempotency keys on a real server: one key, one job, whatever happens between."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest

from core.contracts.jobs import JobRequest
from core.errors import (
    IdempotencyConflict,
    IdempotencyKeyReuse,
    ResultExpired,
)
from core.jobs import idempotency
from core.jobs.queue import JobQueue, Submission
from core.jobs.store import JobStore

DIGEST = sha256(b"body").hexdigest()


async def test_a_key_replays_its_job(queue: JobQueue) -> None:
    async with queue.taking_in("caller:key") as intake:
        assert intake.known is None
        first = await queue.submit(JobRequest(), (), intake=intake, digest=DIGEST)
    async with queue.taking_in("caller:key") as intake:
        assert intake.known == first.record.id
        again = await queue.submit(JobRequest(), (), intake=intake, digest=DIGEST)
    assert again == Submission(first.record, replayed=True)
    async with queue.taking_in("caller:key") as intake:
        with pytest.raises(IdempotencyKeyReuse):
            await queue.submit(JobRequest(), (), intake=intake, digest=sha256(b"other").hexdigest())
    async with queue.taking_in("another:key") as intake:
        other = await queue.submit(JobRequest(), (), intake=intake, digest=DIGEST)
    assert other.record.id != first.record.id


async def test_a_key_is_held_while_its_body_comes_in(queue: JobQueue) -> None:
    async with queue.taking_in("key"):
        with pytest.raises(IdempotencyConflict):
            async with queue.taking_in("key"):
                pass
    # No job came of it: the key is free again.
    async with queue.taking_in("key") as intake:
        assert intake.known is None


async def test_of_many_with_one_key_one_makes_the_job(queue: JobQueue) -> None:
    async def request() -> str | None:
        try:
            async with queue.taking_in("key") as intake:
                await asyncio.sleep(0.02)
                return (await queue.submit(JobRequest(), (), intake=intake, digest=DIGEST)).record.id
        except IdempotencyConflict:
            return None

    answers = await asyncio.gather(*(request() for _ in range(10)))
    assert len({answer for answer in answers if answer is not None}) == 1
    assert (await queue.counts())["queued"] == 1


async def test_a_key_outlives_a_slow_body_and_not_a_dead_gateway(
    queue: JobQueue, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "HOLD_S", 0.6)
    async with queue.taking_in("key") as intake:
        await asyncio.sleep(1.2)
        with pytest.raises(IdempotencyConflict):
            async with queue.taking_in("key"):
                pass
        await queue.submit(JobRequest(), (), intake=intake, digest=DIGEST)
    name = store.keys.idempotency("abandoned")
    await store.client.set(name, '{"intake":"of a gateway that was killed"}', px=200)
    with pytest.raises(IdempotencyConflict):
        async with queue.taking_in("abandoned"):
            pass
    await asyncio.sleep(0.4)
    async with queue.taking_in("abandoned") as intake:
        assert intake.known is None


async def test_a_key_that_was_lost_makes_no_second_job(queue: JobQueue, store: JobStore) -> None:
    async with queue.taking_in("key") as intake:
        await store.client.delete(store.keys.idempotency("key"))
        with pytest.raises(IdempotencyConflict):
            await queue.submit(JobRequest(), (), intake=intake, digest=DIGEST)
    assert (await queue.counts())["queued"] == 0


async def test_the_key_of_a_deleted_job_says_so(queue: JobQueue) -> None:
    async with queue.taking_in("key") as intake:
        first = await queue.submit(JobRequest(), (), intake=intake, digest=DIGEST)
    await queue.delete(first.record.id)
    async with queue.taking_in("key") as intake:
        with pytest.raises(ResultExpired):
            await queue.submit(JobRequest(), (), intake=intake, digest=DIGEST)
