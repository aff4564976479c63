"""The records of jobs: created once, changed by compare-and-swap, indexed for lists, erased in the end."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from pydantic import ValidationError
from redis.asyncio import Redis

from core.contracts.jobs import (
    PRIORITIES,
    STATUSES,
    TRANSITIONS,
    JobOutcome,
    JobRecord,
    JobStatus,
    Priority,
    Progress,
)
from core.contracts.problem import Problem
from core.errors import NotFound, QueueUnavailable, ResultExpired
from core.jobs import scripts
from core.jobs.connection import reaching
from core.jobs.keys import Keys
from core.jobs.pace import Pace
from core.jobs.quota import JobQuota

EVENTS_KEPT: Final = 512
DEAD_LETTERS_KEPT: Final = 1000
_TOMBSTONE: Final = b'{"schema_version":1,"erased":true}'
# Each round another writer got ahead; there are few writers of one job.
_SWAP_LIMIT: Final = 50
_RUN_WEIGHT: Final = 0.2
_BUSY: Final = 2

Change = Callable[[JobRecord], JobRecord | None]


def now() -> datetime:
    """The time of records, in UTC."""
    return datetime.now(UTC)


def ended(
    record: JobRecord,
    status: JobStatus,
    retention_s: float,
    *,
    outcome: JobOutcome | None = None,
    problem: Problem | None = None,
) -> JobRecord:
    """``record`` at its end: with the time, what came of it, and the time at which its files are to be erased."""
    finished = now()
    fields: dict[str, Any] = {"status": status, "finished_at": finished, "claimed_by": None, "problem": problem}
    fields["expires_at"] = finished + timedelta(seconds=retention_s)
    if outcome is not None:
        fields |= {name: getattr(outcome, name) for name in JobOutcome.model_fields}
        fields["progress"] = Progress(fraction=1.0, stage="done")
    return record.model_copy(update=fields)


class OwnerBusy(Exception):
    """As many jobs of the owner run as may."""


class JobStore:
    """Records in Redis. Every method raises ``QueueUnavailable`` where Redis does not answer in time."""

    def __init__(self, client: Redis, keys: Keys, timeout_s: float) -> None:
        self.client = client
        self.keys = keys
        self.timeout_s = timeout_s

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """The answer of a script; it is sent whole, which works after any fail-over."""
        async with reaching(self.timeout_s):
            return await self.client.eval(script, len(keys), *keys, *arguments)

    async def create(
        self,
        record: JobRecord,
        limit: int,
        intake: tuple[str, str, str, float] | None,
        quota: JobQuota | None = None,
    ) -> str:
        """Store a queued job unless its id is taken or ``limit`` jobs wait: "OK", "EXISTS", "FULL" or "LOST".

        ``intake`` is an idempotency key with its value before and after and its lifetime in seconds; "LOST" means that
        somebody else holds the key by now. An owner none of whose jobs waits is let in beyond ``limit``. "WAITING" and
        "BYTES" mean that ``quota`` of the owner is used up.
        """
        key, before, after, ttl_s = intake or (self.keys.idempotency(""), "", "", 1.0)
        first, second = _priorities_from(record.request.priority)
        keys = (
            self.keys.job(record.id),
            self.keys.all,
            self.keys.status("queued"),
            self.keys.waiting(first),
            self.keys.waiting(second),
            self.keys.events(record.id),
            key,
            self.keys.owned(record.owner),
            self.keys.owned(record.owner, "queued"),
            self.keys.waiting_of(record.owner, first),
            self.keys.stored,
            self.keys.limits,
        )
        event = _state_event(record)
        score = _score(record.created_at)
        most = ("", "", "") if quota is None else (quota.waiting, quota.stored_bytes, quota.running)
        lifetime_ms = round(ttl_s * 1000)
        job = (record.id, _dump(record), score, limit, event, before, after, lifetime_ms)
        arguments = (*job, record.owner or "", most[0], _size(record), most[1], most[2])
        answer: bytes = await self.run(scripts.CREATE, keys, arguments)
        return answer.decode()

    async def find(self, job_id: str) -> JobRecord | None:
        """The record; None for a job that is unknown or erased."""
        raw = await self._raw(job_id)
        return None if raw is None or raw == _TOMBSTONE else _load(raw)

    async def get(self, job_id: str) -> JobRecord:
        """The record. Raises ``NotFound`` or, once it has been erased, ``ResultExpired``."""
        raw = await self._raw(job_id)
        if raw is None:
            raise NotFound("There is no job with this id.")
        if raw == _TOMBSTONE:
            raise ResultExpired("The job and its files have been erased.")
        return _load(raw)

    async def _raw(self, job_id: str) -> bytes | None:
        async with reaching(self.timeout_s):
            return cast("bytes | None", await self.client.get(self.keys.job(job_id)))

    async def change(self, job_id: str, change: Change, *, dead: str = "") -> JobRecord | None:
        """Replace a record by ``change`` of it, in one step with its indexes and its event; the record that stands.

        None: the job is gone, or ``change`` declined by returning None. ``change`` may be called several times. Raises
        ``OwnerBusy`` where it would make one job more of its owner run than may.
        ``dead`` files the job among the dead letters, for that reason, if ``change`` makes it fail.
        """
        for _ in range(_SWAP_LIMIT):
            raw = await self._raw(job_id)
            if raw is None or raw == _TOMBSTONE:
                return None
            before = _load(raw)
            after = change(before)
            if after is None:
                return None
            if after == before:
                return after
            if await self._swap(raw, before, after, dead):
                return after
        raise QueueUnavailable("The job changes too often.", retry_after_s=1.0)

    async def _swap(self, raw: bytes, before: JobRecord, after: JobRecord, dead: str) -> bool:
        moved = after.status != before.status
        if moved and after.status not in TRANSITIONS[before.status]:
            raise ValueError(f"a job that is {before.status} cannot become {after.status}")
        keys = (
            self.keys.job(after.id),
            self.keys.status(before.status),
            self.keys.status(after.status),
            self.keys.waiting(after.request.priority),
            self.keys.active,
            self.keys.events(after.id),
            self.keys.expiry,
            self.keys.dead,
            self.keys.owned(after.owner, before.status),
            self.keys.owned(after.owner, after.status),
            self.keys.waiting_of(after.owner, after.request.priority),
            self.keys.stored,
            self.keys.limits,
        )
        event, data = ("state", _state_event(after)) if moved else _progress_event(before, after)
        arguments = (
            after.id,
            raw,
            _dump(after),
            after.status if moved else "",
            _score(after.created_at),
            _score(after.started_at),
            _score(after.expires_at),
            event,
            data,
            EVENTS_KEPT,
            dead if after.status == "failed" else "",
            DEAD_LETTERS_KEPT,
            after.owner or "",
            _size(after) - _size(before),
        )
        answer = await self.run(scripts.UPDATE, keys, arguments)
        if answer == _BUSY:
            raise OwnerBusy
        return bool(answer)

    async def erase(self, job_id: str, tombstone_s: float) -> bool:
        """Replace an ended job by a tombstone; False where there is nothing to erase or it has not ended."""
        for _ in range(_SWAP_LIMIT):
            raw = await self._raw(job_id)
            if raw is None or raw == _TOMBSTONE:
                return False
            record = _load(raw)
            if not record.terminal:
                return False
            keys = (
                self.keys.job(job_id),
                self.keys.events(job_id),
                self.keys.stored,
                self.keys.limits,
                self.keys.owned(record.owner),
                self.keys.all,
                self.keys.status(record.status),
                self.keys.owned(record.owner, record.status),
                self.keys.waiting(record.request.priority),
                self.keys.waiting_of(record.owner, record.request.priority),
                self.keys.active,
                self.keys.expiry,
            )
            lifetime_ms = round(tombstone_s * 1000)
            arguments = (job_id, raw, _TOMBSTONE, lifetime_ms, record.owner or "", _size(record))
            if await self.run(scripts.ERASE, keys, arguments):
                return True
        raise QueueUnavailable("The job changes too often.", retry_after_s=1.0)

    async def hold(self, job_id: str, token: str, lease_s: float) -> bool:
        """Take or renew the claim on a job; False while another attempt holds it."""
        return bool(await self.run(scripts.HOLD, (self.keys.claim(job_id),), (token, round(lease_s * 1000))))

    async def release(self, job_id: str, token: str) -> None:
        """Give up the claim, if it is still ours."""
        await self.run(scripts.RELEASE, (self.keys.claim(job_id),), (token,))

    async def page(
        self, owner: str | None, status: JobStatus | None, limit: int, offset: int
    ) -> tuple[list[JobRecord], int]:
        """Up to ``limit`` records after the ``offset`` newest, newest first, and how many there are in all.

        Those of ``owner``; of everybody for None.
        """
        index = self.keys.owned(owner, status)
        async with reaching(self.timeout_s):
            total: int = await self.client.zcard(index)
            ids = cast("list[bytes]", await self.client.zrevrange(index, offset, offset + limit - 1))
            raws = await self.client.mget([self.keys.job(item.decode()) for item in ids]) if ids else []
        # What was erased between the two questions is left out.
        return [_load(raw) for raw in cast("list[bytes | None]", raws) if raw is not None and raw != _TOMBSTONE], total

    async def counts(self) -> dict[JobStatus, int]:
        """How many jobs are kept in each status."""
        async with reaching(self.timeout_s):
            return {status: await self.client.zcard(self.keys.status(status)) for status in STATUSES}

    async def waiting(self) -> dict[Priority, int]:
        """How many jobs of each priority wait."""
        async with reaching(self.timeout_s):
            return {priority: await self.client.zcard(self.keys.waiting(priority)) for priority in PRIORITIES}

    async def usage(self, owner: str) -> tuple[int, int]:
        """How many jobs of an owner wait, and how many bytes of it are stored."""
        async with reaching(self.timeout_s):
            waiting: int = await self.client.zcard(self.keys.owned(owner, "queued"))
            stored = await cast("Awaitable[bytes | None]", self.client.hget(self.keys.stored, owner))
        return waiting, int(stored or 0)

    async def dead_letters(self) -> int:
        """How many jobs were given up, of the last ``DEAD_LETTERS_KEPT``."""
        async with reaching(self.timeout_s):
            return int(await self.client.xlen(self.keys.dead))

    async def ids(self, index: str, up_to: float | None = None) -> list[str]:
        """Ids in a sorted set, lowest first, with a score of at most ``up_to``."""
        async with reaching(self.timeout_s):
            found = await self.client.zrangebyscore(index, "-inf", "+inf" if up_to is None else up_to)
        return [item.decode() for item in cast("list[bytes]", found)]

    async def rank(self, record: JobRecord) -> int | None:
        """Place of a queued job, 1 for the one that starts next; None where it does not wait."""
        priority = record.request.priority
        async with reaching(self.timeout_s):
            rank = cast("int | None", await self.client.zrank(self.keys.waiting(priority), record.id))
            if rank is None:
                return None
            ahead = await self.client.zcard(self.keys.waiting("urgent")) if priority == "routine" else 0
        return rank + ahead + 1

    async def ranks(self) -> dict[str, int]:
        """Place of every queued job by its id, 1 for the one that starts next."""
        waiting = [job_id for priority in PRIORITIES for job_id in await self.ids(self.keys.waiting(priority))]
        return {job_id: place for place, job_id in enumerate(waiting, start=1)}

    async def measured(self, run_s: float) -> None:
        """Let the time of a run that succeeded into the mean."""
        await self.run(scripts.MEASURE, (self.keys.stats,), (run_s, _RUN_WEIGHT))

    async def pace(self, expected_run_s: float) -> Pace:
        """What is known of the speed at which jobs are worked off."""
        async with reaching(self.timeout_s):
            mean = await cast("Awaitable[bytes | None]", self.client.hget(self.keys.stats, "run_s"))
            started = cast(
                "list[tuple[bytes, float]]", await self.client.zrange(self.keys.active, 0, -1, withscores=True)
            )
        elapsed = [max(0.0, time.time() - score / 1000) for _, score in started]
        return Pace(float(mean) if mean else expected_run_s, elapsed)


def _priorities_from(priority: Priority) -> tuple[Priority, Priority]:
    return ("urgent", "routine") if priority == "urgent" else ("routine", "urgent")


def _score(moment: datetime | None) -> str:
    """Milliseconds, with the microseconds behind the point: jobs of one millisecond keep their order."""
    return "" if moment is None else f"{moment.timestamp() * 1000:.3f}"


def _size(record: JobRecord) -> int:
    """Bytes that are stored of a job."""
    return sum(file.size for file in (*record.inputs, *record.results))


def _dump(record: JobRecord) -> str:
    return record.model_dump_json()


def _load(raw: bytes) -> JobRecord:
    try:
        return JobRecord.model_validate_json(raw)
    except ValidationError as error:
        # During an update: newer code has written a record whose fields this code does not know.
        raise QueueUnavailable("The job was written by another version of Falx.", retry_after_s=30.0) from error


def _state_event(record: JobRecord) -> str:
    data: dict[str, object] = {"status": record.status, "attempts": record.attempts}
    if record.problem is not None:
        data["problem"] = record.problem.model_dump(exclude_none=True)
    return json.dumps(data, separators=(",", ":"))


def _progress_event(before: JobRecord, after: JobRecord) -> tuple[str, str]:
    return ("", "") if before.progress == after.progress else ("progress", after.progress.model_dump_json())
