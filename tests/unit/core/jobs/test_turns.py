"""Owners are served in turn, and none gets more than its quota, on a real server."""

from __future__ import annotations

import asyncio

import pytest

from core.contracts.jobs import JobOutcome, JobRecord, JobRequest, Priority, StoredFile
from core.errors import QueueFull, QuotaExceeded
from core.jobs.queue import JobQueue, new_job_id
from core.jobs.quota import JobQuota
from core.jobs.settings import QueueSettings
from core.jobs.store import JobStore, ended, now
from core.jobs.turns import AllBusy, Held, Turns, used_for

ROOMY = JobQuota()


@pytest.fixture
def settings(settings: QueueSettings) -> QueueSettings:
    return settings.model_copy(update={"max_queued_jobs": 12})


def stored(size: int, name: str = "flair") -> StoredFile:
    return StoredFile(name=name, media_type="application/gzip", size=size, sha256="0" * 64, blob=f"jobs/x/{name}")


async def submit(
    queue: JobQueue, owner: str | None, priority: Priority = "routine", quota: JobQuota = ROOMY, size: int = 0
) -> JobRecord:
    inputs = (stored(size),) if size else ()
    request = JobRequest(priority=priority)
    return (await queue.submit(request, inputs, owner=owner, quota=quota if owner else None)).record


def worker(store: JobStore, token: str = "one", priority: Priority = "routine") -> Turns:
    return Turns(store, priority, token, 60)


async def take(store: JobStore, ticket: str, token: str = "one", priority: Priority = "routine") -> JobRecord | None:
    """Begin whatever ``ticket`` is for, as an attempt does."""

    def begun(record: JobRecord) -> JobRecord | None:
        if record.terminal:
            return None
        changes = {"status": "running", "attempts": record.attempts + 1, "started_at": now(), "claimed_by": token}
        return record.model_copy(update=changes)

    return await worker(store, token, priority).take(ticket, lambda job_id: store.change(job_id, begun))


async def end(store: JobStore, job_id: str, outcome: JobOutcome | None = None) -> None:
    await store.change(job_id, lambda record: ended(record, "succeeded", 60, outcome=outcome))


async def test_owners_are_served_in_turn(queue: JobQueue, store: JobStore) -> None:
    """However many one has sent before: the order is that of rounds, and positions say so."""
    names = ["anna"] * 4 + ["bert"] * 2 + ["anna", "carl", None, None]
    jobs = [await submit(queue, name) for name in names]
    positions = await queue.positions(jobs)
    assert positions == [1, 5, 8, 9, 2, 6, 10, 3, 4, 7]
    assert [await queue.position(job) for job in jobs] == positions
    served = []
    for job in jobs:
        record = await take(store, job.id, token=job.id)
        assert record is not None
        served.append(record.owner)
    assert served == ["anna", "bert", "carl", None, "anna", "bert", None, "anna", "anna", "anna"]
    assert await take(store, new_job_id(), token="late") is None


async def test_who_comes_late_waits_for_one_job_of_each_other(queue: JobQueue, store: JobStore) -> None:
    greedy = [await submit(queue, "greedy") for _ in range(8)]
    for job in greedy[:3]:
        await take(store, job.id, token=job.id)
    late = await submit(queue, "late")
    assert await queue.position(late) == 2
    assert [await queue.position(job) for job in greedy[3:]] == [1, 3, 4, 5, 6]


async def test_urgent_jobs_have_turns_of_their_own(queue: JobQueue, store: JobStore) -> None:
    first = [await submit(queue, "anna", "urgent") for _ in range(2)]
    other = await submit(queue, "bert", "urgent")
    await submit(queue, "anna")
    assert await queue.positions([*first, other]) == [1, 3, 2]
    record = await take(store, other.id, priority="urgent")
    assert record is not None
    assert record.id == first[0].id


async def test_a_ticket_that_comes_again_goes_on_with_its_job(queue: JobQueue, store: JobStore) -> None:
    jobs = [await submit(queue, "anna") for _ in range(2)]
    record = await take(store, jobs[1].id, token="dead")
    assert record is not None
    assert record.id == jobs[0].id
    assert await used_for(store, jobs[1].id) == jobs[0].id
    with pytest.raises(Held):
        await take(store, jobs[1].id, token="other")
    await store.release(jobs[0].id, "dead")  # as when its claim runs out
    again = await take(store, jobs[1].id, token="other")
    assert again is not None
    assert (again.id, again.attempts) == (jobs[0].id, 2)
    await end(store, jobs[0].id)
    following = await take(store, jobs[1].id, token="third")
    assert following is not None
    assert following.id == jobs[1].id
    await worker(store).settle(jobs[1].id)
    assert await used_for(store, jobs[1].id) is None


async def test_a_job_that_waits_for_another_attempt_is_left_to_its_ticket(queue: JobQueue, store: JobStore) -> None:
    failed, fresh = [await submit(queue, "anna") for _ in range(2)]
    await take(store, fresh.id, token="dead")
    await store.change(failed.id, lambda record: record.model_copy(update={"status": "queued", "claimed_by": None}))
    await store.release(failed.id, "dead")
    assert await queue.position(await queue.get(failed.id)) == 1
    record = await take(store, failed.id, token="next")
    assert record is not None
    assert record.id == failed.id  # begun before, and its own
    other = await take(store, new_job_id(), token="another")
    assert other is not None
    assert other.id == fresh.id


async def test_two_workers_never_begin_one_job(queue: JobQueue, store: JobStore) -> None:
    jobs = [await submit(queue, "anna") for _ in range(6)]
    records = await asyncio.gather(*(take(store, job.id, token=job.id) for job in jobs), return_exceptions=True)
    begun = [record.id for record in records if isinstance(record, JobRecord)]
    assert len(set(begun)) == len(begun)
    assert all(isinstance(record, JobRecord | AllBusy) for record in records)
    assert (await queue.counts())["running"] == len(begun) >= 1


async def test_no_more_of_an_owners_jobs_run_than_may(queue: JobQueue, store: JobStore) -> None:
    narrow = JobQuota(running=2)
    jobs = [await submit(queue, "anna", quota=narrow) for _ in range(4)]
    for job in jobs[:2]:
        assert await take(store, job.id, token=job.id) is not None
    with pytest.raises(AllBusy):
        await take(store, jobs[2].id, token="third")
    assert await store.hold(jobs[2].id, "anybody", 1)  # let go of
    await store.release(jobs[2].id, "anybody")
    other = await submit(queue, "bert")
    record = await take(store, jobs[2].id, token="third")
    assert record is not None
    assert record.id == other.id
    await end(store, jobs[0].id)
    record = await take(store, jobs[3].id, token="fourth")
    assert record is not None
    assert record.id == jobs[2].id
    attempts = [take(store, new_job_id(), token=f"racer {number}") for number in range(5)]
    assert all(isinstance(answer, AllBusy) for answer in await asyncio.gather(*attempts, return_exceptions=True))
    assert (await queue.counts())["running"] == 3


async def test_a_job_beyond_the_quota_is_refused(queue: JobQueue, store: JobStore) -> None:
    quota = JobQuota(waiting=2, stored_bytes=1_000)
    first = await submit(queue, "anna", quota=quota, size=400)
    await submit(queue, "anna", "urgent", quota=quota, size=500)
    with pytest.raises(QuotaExceeded, match="waiting") as refused:
        await submit(queue, "anna", quota=quota)
    assert refused.value.retry_after_s == pytest.approx(30)
    with pytest.raises(QuotaExceeded, match="waiting"):
        await queue.ensure_room("anna", quota)
    await queue.ensure_room("bert", quota)
    await take(store, first.id)
    with pytest.raises(QuotaExceeded, match="stored_bytes"):
        await submit(queue, "anna", quota=quota, size=101)
    await end(store, first.id, JobOutcome(results=(stored(150, "report.json"),)))
    assert await store.usage("anna") == (1, 1_050)
    with pytest.raises(QuotaExceeded, match="1000 bytes"):
        await queue.ensure_room("anna", quota)
    await queue.delete(first.id)
    assert await store.usage("anna") == (1, 500)
    assert (await submit(queue, "anna", quota=quota, size=500)).status == "queued"


async def test_many_at_once_do_not_overshoot_the_quota(queue: JobQueue) -> None:
    quota = JobQuota(waiting=3)
    answers = await asyncio.gather(*(submit(queue, "anna", quota=quota) for _ in range(9)), return_exceptions=True)
    assert sum(isinstance(answer, JobRecord) for answer in answers) == 3
    assert sum(isinstance(answer, QuotaExceeded) for answer in answers) == 6


async def test_a_full_queue_still_takes_one_job_of_who_has_none(queue: JobQueue) -> None:
    for _ in range(12):
        await submit(queue, "greedy")
    with pytest.raises(QueueFull):
        await queue.ensure_room("greedy", ROOMY)
    with pytest.raises(QueueFull):
        await queue.ensure_room()
    await queue.ensure_room("modest", ROOMY)
    modest = await submit(queue, "modest")
    assert await queue.position(modest) == 2
    for owner in ("greedy", "modest", None):
        with pytest.raises(QueueFull):
            await submit(queue, owner)


async def test_nothing_is_kept_of_an_owner_without_jobs(queue: JobQueue, store: JobStore) -> None:
    job = await submit(queue, "anna", size=10)
    await queue.delete(job.id)
    names = {key.decode() async for key in store.client.scan_iter(f"{{{store.keys.name}}}:*")}
    assert names == {store.keys.job(job.id)}


async def test_a_cancelled_job_leaves_a_ticket_that_another_runs_on(queue: JobQueue, store: JobStore) -> None:
    """Were it taken out of the docket, the other job's attempt would be ended with it."""
    first, second = [await submit(queue, "anna") for _ in range(2)]
    await take(store, second.id)
    length = await store.client.xlen(f"{store.keys.docket('routine')}:stream")
    await queue.cancel(second.id)
    assert await store.client.xlen(f"{store.keys.docket('routine')}:stream") == length
    assert (await queue.get(first.id)).status == "running"
