"""The front of the queue on a real server, without workers: taking in, limits, lists, cancel, delete, events."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from core.contracts.jobs import JobRecord, JobRequest, JobStatus, Progress
from core.errors import (
    InvalidRequest,
    JobNotCancellable,
    NotFound,
    QueueFull,
    QueueUnavailable,
    ResultExpired,
)
from core.jobs.presence import announce, withdraw
from core.jobs.queue import JobQueue, Submission, new_job_id
from core.jobs.store import JobStore, ended, now
from tests.support.queue import advance, docket_length, start, submit, succeed


async def test_a_job_is_kept_and_enqueued_once(queue: JobQueue, store: JobStore) -> None:
    record = await submit(queue)
    assert await queue.get(record.id) == record
    assert record.status == "queued"
    again = await queue.submit(JobRequest(), (), job_id=record.id)
    assert again == Submission(record, replayed=True)
    assert await docket_length(store, "routine") == 1
    assert await docket_length(store, "urgent") == 0


async def test_ten_submissions_of_one_id_make_one_job(queue: JobQueue, store: JobStore) -> None:
    job_id = new_job_id()
    answers = await asyncio.gather(*(queue.submit(JobRequest(), (), job_id=job_id) for _ in range(10)))
    assert sum(not answer.replayed for answer in answers) == 1
    assert await docket_length(store, "routine") == 1


async def test_unknown_jobs(queue: JobQueue) -> None:
    for ask in (queue.get, queue.cancel, queue.delete):
        with pytest.raises(NotFound):
            await ask(new_job_id())
    with pytest.raises(NotFound):
        await anext(aiter(queue.events(new_job_id())))


async def test_the_limit_holds_however_many_come_at_once(queue: JobQueue) -> None:
    answers = await asyncio.gather(*(submit(queue) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(answer, JobRecord) for answer in answers) == 5
    assert sum(isinstance(answer, QueueFull) for answer in answers) == 7
    assert (await queue.counts())["queued"] == 5
    with pytest.raises(QueueFull):
        await queue.ensure_room()


async def test_retry_after_is_the_time_until_a_job_ends(queue: JobQueue, store: JobStore) -> None:
    jobs = [await submit(queue) for _ in range(5)]
    with pytest.raises(QueueFull) as idle:
        await submit(queue)
    assert idle.value.retry_after_s == pytest.approx(30)  # nothing measured, nothing runs
    for _ in range(40):
        await store.measured(12.0)
    await start(store, jobs[0].id)
    await submit(queue)
    long_ago = time.time() - 8
    await store.client.zadd(store.keys.active, {jobs[0].id: long_ago * 1000})
    with pytest.raises(QueueFull) as busy:
        await submit(queue)
    assert busy.value.retry_after_s == pytest.approx(4, abs=1.5)


async def test_expected_end_grows_with_the_queue(queue: JobQueue, store: JobStore) -> None:
    jobs = [await submit(queue) for _ in range(4)]
    await start(store, jobs[0].id)
    ends = [await queue.expected_end_s(await queue.get(job.id)) for job in jobs]
    assert ends == [pytest.approx(30 * turn, abs=2) for turn in (1, 2, 3, 4)]
    await store.change(jobs[0].id, lambda record: ended(record, "succeeded", 60))
    assert await queue.expected_end_s(await queue.get(jobs[0].id)) is None


async def test_jobs_of_one_moment_stand_in_the_order_they_came_in(queue: JobQueue) -> None:
    for _ in range(10):
        jobs = [await submit(queue) for _ in range(5)]
        assert [await queue.position(job) for job in jobs] == [1, 2, 3, 4, 5]
        for job in jobs:
            await queue.cancel(job.id)


async def test_the_mean_follows_what_is_measured(store: JobStore) -> None:
    assert (await store.pace(30.0)).run_s == 30.0
    await store.measured(10.0)
    assert (await store.pace(30.0)).run_s == 10.0
    await store.measured(20.0)
    assert 10.0 < (await store.pace(30.0)).run_s < 20.0


async def test_urgent_jobs_stand_before_routine_ones(queue: JobQueue) -> None:
    routine = [await submit(queue) for _ in range(2)]
    urgent = [await submit(queue, "urgent") for _ in range(2)]
    assert [await queue.position(job) for job in (*urgent, *routine)] == [1, 2, 3, 4]
    assert await queue.depth() == {"urgent": 2, "routine": 2}
    await queue.cancel(urgent[0].id)
    assert await queue.position(routine[0]) == 2


async def test_pages(queue: JobQueue, store: JobStore) -> None:
    jobs = []
    for _ in range(5):
        jobs.append((await submit(queue)).id)
        await asyncio.sleep(0.003)
    await succeed(store, jobs[1])
    records, total = await queue.page(limit=2, offset=1)
    assert ([record.id for record in records], total) == ([jobs[3], jobs[2]], 5)
    records, total = await queue.page("succeeded")
    assert ([record.id for record in records], total) == ([jobs[1]], 1)
    records, total = await queue.page("queued", limit=50, offset=3)
    assert ([record.id for record in records], total) == ([jobs[0]], 4)
    assert await queue.page("failed") == ([], 0)
    assert await queue.page(limit=5, offset=9) == ([], 5)


async def test_each_owner_has_a_list(queue: JobQueue, store: JobStore) -> None:
    jobs = [(await queue.submit(JobRequest(), (), owner=owner)).record for owner in ("anna", "bert", None, "anna")]
    await succeed(store, jobs[0].id)

    async def listed(owner: str | None, status: JobStatus | None = None) -> list[str]:
        records, total = await queue.page(status, owner=owner)
        assert total == len(records)
        return [record.id for record in records]

    assert await listed("anna") == [jobs[3].id, jobs[0].id]
    assert await listed("anna", "succeeded") == [jobs[0].id]
    assert await listed("anna", "queued") == [jobs[3].id]
    assert await listed("bert") == [jobs[1].id]
    assert await listed(None) == [job.id for job in reversed(jobs)]
    for job in jobs:
        await queue.delete(job.id)
        assert not await queue.keeps(job.id)
    assert [await listed(owner) for owner in ("anna", "bert", None)] == [[], [], []]


async def test_positions_of_many_are_those_of_each(queue: JobQueue, store: JobStore) -> None:
    jobs = [await submit(queue), await submit(queue, "urgent"), await submit(queue), await submit(queue)]
    await succeed(store, jobs[2].id)
    records = [await queue.get(job.id) for job in jobs]
    assert await queue.positions(records) == [2, 1, None, 3] == [await queue.position(record) for record in records]
    assert await queue.positions(records[2:3]) == [None]


async def test_workers_are_present_for_as_long_as_they_say_so(
    queue: JobQueue, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await queue.workers() == []
    for name in ("one", "two", "three"):
        await announce(store, name, ())
    await withdraw(store, "two")
    assert [sign.worker for sign in await queue.workers()] == ["one", "three"]
    later = now() + timedelta(seconds=31)
    monkeypatch.setattr("core.jobs.presence.now", lambda: later)
    await announce(store, "one", ())
    assert [sign.worker for sign in await queue.workers()] == ["one"]
    assert await store.client.hlen(store.keys.workers) == 1


async def test_a_queued_job_is_cancelled_and_leaves_the_docket(queue: JobQueue, store: JobStore) -> None:
    job = await submit(queue)
    cancelled = await queue.cancel(job.id)
    assert (cancelled.status, cancelled.finished_at is not None) == ("cancelled", True)
    assert await docket_length(store, "routine") == 0
    with pytest.raises(JobNotCancellable):
        await queue.cancel(job.id)


async def test_an_end_is_final(queue: JobQueue, store: JobStore) -> None:
    """Of many that end a job at the same time one succeeds, and what it wrote stays."""
    job = await submit(queue)
    await start(store, job.id)

    async def end(status: str) -> JobRecord | None:
        def change(record: JobRecord) -> JobRecord | None:
            return None if record.terminal else ended(record, status, 60)  # type: ignore[arg-type]

        return await store.change(job.id, change)

    answers = await asyncio.gather(*(end(status) for status in ("succeeded", "failed", "cancelled") * 4))
    (winner,) = [answer for answer in answers if answer is not None]
    assert await queue.get(job.id) == winner
    with pytest.raises(ValueError, match="cannot become"):
        await store.change(job.id, lambda record: record.model_copy(update={"status": "running"}))


async def test_no_change_is_lost(queue: JobQueue, store: JobStore) -> None:
    job = await submit(queue)
    await start(store, job.id)

    async def count() -> None:
        await store.change(job.id, lambda record: record.model_copy(update={"attempts": record.attempts + 1}))

    await asyncio.gather(*(count() for _ in range(15)))
    assert (await queue.get(job.id)).attempts == 16


async def test_deleted_jobs_are_gone_for_good(queue: JobQueue, store: JobStore) -> None:
    queued, running, done = [await submit(queue) for _ in range(3)]
    await start(store, running.id)
    await succeed(store, done.id)
    for job in (queued, running, done):
        await queue.delete(job.id)
        for ask in (queue.get, queue.cancel, queue.delete):
            with pytest.raises(ResultExpired):
                await ask(job.id)
    assert await queue.page() == ([], 0)
    assert set((await queue.counts()).values()) == {0}
    names = {key.decode() async for key in store.client.scan_iter(f"{{{store.keys.name}}}:*")}
    assert names == {store.keys.job(job.id) for job in (queued, running, done)}


async def test_a_tombstone_is_forgotten_in_time(redis_url: str, queue: JobQueue, store: JobStore) -> None:
    job = await submit(queue)
    await succeed(store, job.id)
    await store.erase(job.id, tombstone_s=0.2)
    with pytest.raises(ResultExpired):
        await queue.get(job.id)
    await asyncio.sleep(0.4)
    with pytest.raises(NotFound):
        await queue.get(job.id)


async def test_events_are_told_and_resumed(queue: JobQueue, store: JobStore) -> None:
    job = await submit(queue)
    events = queue.events(job.id, heartbeat_s=0.1)
    first = await anext(events)
    assert first is not None
    assert (first.event, first.data) == ("state", '{"status":"queued","attempts":0}')
    assert await anext(events) is None
    await start(store, job.id)
    for progress in (Progress(stage="segment", fraction=0.25), Progress(stage="segment", fraction=0.5)):
        await advance(store, job.id, progress)
    await store.change(job.id, lambda record: ended(record, "succeeded", 60))
    rest = [event async for event in events if event is not None]
    assert [event.event for event in rest] == ["state", "progress", "progress", "state"]
    assert '"fraction":0.25' in rest[1].data
    assert [event async for event in queue.events(job.id, rest[1].id)] == rest[2:]
    assert [event async for event in queue.events(job.id, rest[-1].id)] == []
    with pytest.raises(InvalidRequest):
        await anext(queue.events(job.id, "yesterday"))


async def test_an_end_just_after_the_last_look_is_told(
    queue: JobQueue, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submit(queue)
    await start(store, job.id)
    find = JobStore.find

    async def find_late(self: JobStore, job_id: str) -> JobRecord | None:
        # The job ends after its events were read and before its record is.
        if not (await self.get(job_id)).terminal:
            await self.change(job_id, lambda record: ended(record, "succeeded", 60))
        return await find(self, job_id)

    monkeypatch.setattr(JobStore, "find", find_late)
    states = [event.data async for event in queue.events(job.id) if event is not None]
    assert [state.split('"')[3] for state in states] == ["queued", "running", "succeeded"]


async def test_waiting_ends_with_the_job_or_the_time(queue: JobQueue, store: JobStore) -> None:
    job = await submit(queue)
    assert (await queue.wait(job.id, 0.2)).status == "queued"
    waiting = asyncio.create_task(queue.wait(job.id, 20))
    await asyncio.sleep(0.1)
    await succeed(store, job.id)
    assert (await waiting).status == "succeeded"


async def test_a_record_of_newer_code_is_left_alone(queue: JobQueue, store: JobStore) -> None:
    job = await submit(queue)
    raw = await store.client.get(store.keys.job(job.id))
    assert isinstance(raw, bytes)
    newer = raw.replace(b'"schema_version":1', b'"schema_version":2')
    await store.client.set(store.keys.job(job.id), newer)
    for ask in (queue.get, queue.cancel):
        with pytest.raises(QueueUnavailable, match="another version"):
            await ask(job.id)
    assert await store.client.get(store.keys.job(job.id)) == newer
