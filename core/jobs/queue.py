"""The front of the queue: what the gateway asks of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import structlog

from core.contracts.jobs import ACTIVE, JobEvent, JobRecord, JobRequest, JobStatus, Priority, StoredFile
from core.errors import IdempotencyConflict, JobNotCancellable, NotFound, QueueFull, QueueUnavailable, QuotaExceeded
from core.jobs.connection import TASK, Dockets, open_client, open_dockets, reaching
from core.jobs.events import check_event_id, follow
from core.jobs.idempotency import Intake, settled, taking_in
from core.jobs.keys import Keys
from core.jobs.presence import Presence, present
from core.jobs.quota import JobQuota
from core.jobs.settings import QueueSettings
from core.jobs.store import JobStore, ended, now
from core.jobs.turns import used_for

logger = structlog.get_logger("falx.jobs")

HEARTBEAT_S = 15.0
# Jobs are erased after days; the caller may delete some at once.
_FOR_ROOM_S = 60.0


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that was taken in; ``replayed``: by an earlier request with the same idempotency key."""

    record: JobRecord
    replayed: bool = False


def new_job_id() -> str:
    """An id that cannot be guessed: 32 hexadecimal digits."""
    return uuid.uuid4().hex


class JobQueue:
    """Submit, watch and cancel jobs. Every method raises ``QueueUnavailable`` where Redis does not answer.

    Made by ``open_queue``. Methods that take an id raise ``NotFound`` for one that is unknown and ``ResultExpired`` for
    one that has been erased.
    """

    def __init__(self, dockets: Dockets, store: JobStore, settings: QueueSettings) -> None:
        self._dockets = dockets
        self._store = store
        self._settings = settings

    def taking_in(self, key: str | None) -> AbstractAsyncContextManager[Intake]:
        """Hold an idempotency key (with the caller's name in it) while the body of its request comes in.

        Raises ``IdempotencyConflict`` while another request holds it.
        """
        return taking_in(self._store, key)

    async def ensure_room(self, owner: str | None = None, quota: JobQuota | None = None) -> None:
        """Raise ``QueueFull`` or ``QuotaExceeded`` where a job would not be taken in; ask before an upload is."""
        waiting, stored = (0, 0) if owner is None else await self._store.usage(owner)
        if quota is not None and waiting >= quota.waiting:
            raise await self._too_many(quota)
        if quota is not None and stored >= quota.stored_bytes:
            raise _too_much(quota)
        depth = await self._store.waiting()
        if sum(depth.values()) >= self._settings.max_queued_jobs and (owner is None or waiting):
            raise await self._full()

    async def submit(
        self,
        request: JobRequest,
        inputs: Sequence[StoredFile],
        *,
        job_id: str | None = None,
        intake: Intake | None = None,
        digest: str = "",
        owner: str | None = None,
        quota: JobQuota | None = None,
        request_id: str | None = None,
    ) -> Submission:
        """Take a job in; when this returns it survives the loss of every process.

        ``inputs`` are in the store already, under names that ``job_id`` occurs in. ``digest`` is of the request's body,
        ``owner`` the caller whose list the job is in and whom ``quota`` binds.
        Raises ``QueueFull``, ``QuotaExceeded`` and, with an ``intake`` that has a key, ``IdempotencyKeyReuse`` or
        ``IdempotencyConflict``.
        """
        intake = intake or Intake()
        if intake.known is not None:
            intake.check(digest)
            return Submission(await self._store.get(intake.known), replayed=True)
        record = JobRecord(
            id=job_id or new_job_id(),
            request=request.hashed(),
            owner=owner,
            inputs=tuple(inputs),
            created_at=now(),
            request_id=request_id,
        )
        after = settled(record.id, digest)
        swap = (intake.key, intake.held, after, self._settings.idempotency_ttl_s) if intake.key else None
        answer = await self._store.create(record, self._settings.max_queued_jobs, swap, quota)
        if answer == "FULL":
            raise await self._full()
        if quota is not None and answer == "WAITING":
            raise await self._too_many(quota)
        if quota is not None and answer == "BYTES":
            raise _too_much(quota)
        if answer == "LOST":
            raise IdempotencyConflict("Another request with this Idempotency-Key has come in.", retry_after_s=1.0)
        if answer == "EXISTS":
            return Submission(await self._store.get(record.id), replayed=True)
        await self._enqueue(record)
        logger.info("job queued", job_id=record.id, type=request.type, priority=request.priority)
        return Submission(record)

    async def _enqueue(self, record: JobRecord) -> None:
        try:
            async with reaching(self._settings.redis_timeout_s):
                await self._dockets[record.request.priority].add(TASK, key=record.id)(record.id)
        except QueueUnavailable as error:
            # The record is safe: a worker's upkeep finds it and enqueues it.
            logger.warning("job enqueued late", job_id=record.id, exc_info=error)

    async def _full(self) -> QueueFull:
        pace = await self._store.pace(self._settings.expected_run_s)
        return QueueFull("As many jobs wait as are taken in.", retry_after_s=pace.until_next_start_s())

    async def _too_many(self, quota: JobQuota) -> QuotaExceeded:
        pace = await self._store.pace(self._settings.expected_run_s)
        return QuotaExceeded(
            f"{quota.waiting} jobs of this key wait, as many as may (waiting).", retry_after_s=pace.until_next_start_s()
        )

    async def get(self, job_id: str) -> JobRecord:
        """The job as it stands."""
        return await self._store.get(job_id)

    async def position(self, record: JobRecord) -> int | None:
        """Place in the queue, 1 for the job that starts next; None unless it waits."""
        return await self._store.rank(record) if record.status == "queued" else None

    async def positions(self, records: Sequence[JobRecord]) -> list[int | None]:
        """Place of each in the queue, as ``position`` gives it, with as many questions as for one."""
        if not any(record.status == "queued" for record in records):
            return [None] * len(records)
        ranks = await self._store.ranks()
        return [ranks.get(record.id) if record.status == "queued" else None for record in records]

    async def expected_end_s(self, record: JobRecord) -> float | None:
        """Seconds until the job has probably ended, at the measured speed; None for one that has."""
        if record.terminal:
            return None
        position = await self.position(record) or 0
        return (await self._store.pace(self._settings.expected_run_s)).until_end_s(position)

    async def page(
        self, status: JobStatus | None = None, *, owner: str | None = None, limit: int = 50, offset: int = 0
    ) -> tuple[list[JobRecord], int]:
        """Up to ``limit`` jobs after the ``offset`` newest, newest first, and how many there are in all.

        Those of ``owner``; of everybody for None.
        """
        return await self._store.page(owner, status, limit, offset)

    async def keeps(self, job_id: str) -> bool:
        """Whether there is a job of this id, and not just a memory of one."""
        return await self._store.find(job_id) is not None

    async def wait(self, job_id: str, timeout_s: float) -> JobRecord:
        """The job once it has ended, or as it stands after ``timeout_s`` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                async for _ in self.events(job_id):
                    pass
        except TimeoutError:
            pass
        return await self._store.get(job_id)

    def events(
        self, job_id: str, after: str | None = None, heartbeat_s: float = HEARTBEAT_S
    ) -> AsyncIterator[JobEvent | None]:
        """Events after the one called ``after`` until the end; None is a heart-beat.

        Raises ``InvalidRequest`` at once for what is no id of an event.
        """
        return follow(self._store, job_id, check_event_id(after), heartbeat_s)

    async def cancel(self, job_id: str) -> JobRecord:
        """End a job that waits or runs; its process is stopped within a second. Raises ``JobNotCancellable``."""
        cancelled = await self._store.change(job_id, self._cancelled)
        if cancelled is None:
            record = await self._store.get(job_id)
            raise JobNotCancellable(f"The job has ended: {record.status}.")
        await self._forget(cancelled)
        logger.info("job cancelled", job_id=job_id)
        return cancelled

    def _cancelled(self, record: JobRecord) -> JobRecord | None:
        return ended(record, "cancelled", self._settings.job_retention_s) if record.status in ACTIVE else None

    async def _forget(self, record: JobRecord) -> None:
        """Take the job out of the docket. Should that fail, a worker finds that it has ended and leaves it."""
        if record.attempts == 0:
            try:
                if await used_for(self._store, record.id) is not None:
                    # Another job has been begun on its ticket.
                    return
                async with reaching(self._settings.redis_timeout_s):
                    await self._dockets[record.request.priority].cancel(record.id)
            except QueueUnavailable as error:
                logger.warning("job left in the docket", job_id=record.id, exc_info=error)

    async def delete(self, job_id: str) -> None:
        """Cancel the job if need be and leave a tombstone; the caller erases its files afterwards."""
        record = await self._store.change(job_id, self._cancelled)
        if record is not None:
            await self._forget(record)
        if not await self._store.erase(job_id, self._settings.job_tombstone_s):
            await self._store.get(job_id)
            raise NotFound("There is no job with this id.")
        logger.info("job deleted", job_id=job_id)

    async def counts(self) -> dict[JobStatus, int]:
        """How many jobs are kept in each status."""
        return await self._store.counts()

    async def depth(self) -> dict[Priority, int]:
        """How many jobs of each priority wait."""
        return await self._store.waiting()

    async def dead_letters(self) -> int:
        """How many jobs were given up lately."""
        return await self._store.dead_letters()

    async def workers(self) -> list[Presence]:
        """The workers that are there, with their models."""
        return await present(self._store)

    async def ping(self) -> None:
        """Return if Redis answers."""
        async with reaching(self._settings.redis_timeout_s):
            await self._store.client.get(self._store.keys.upkeep)


def _too_much(quota: JobQuota) -> QuotaExceeded:
    return QuotaExceeded(
        f"Inputs and results of this key's jobs may have {quota.stored_bytes} bytes together "
        "(stored_bytes): delete jobs, or wait until older ones are erased.",
        retry_after_s=_FOR_ROOM_S,
    )


@asynccontextmanager
async def open_queue(url: str, settings: QueueSettings) -> AsyncIterator[JobQueue]:
    """The queue at ``url``. Opening it asks nothing of the server. Raises ``UnsafeConfiguration`` for a bad address."""
    keys = Keys(settings.jobs_name)
    async with open_dockets(url, keys) as dockets, open_client(dockets) as client:
        yield JobQueue(dockets, JobStore(client, keys, settings.redis_timeout_s), settings)
