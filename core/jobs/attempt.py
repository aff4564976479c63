"""One attempt at one job: from the claim to what is written in the record."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import structlog

from core.contracts.jobs import JobRecord, Priority, Progress
from core.contracts.problem import Problem
from core.errors import JobCrashed, JobTimedOut, QueueUnavailable, StorageUnavailable
from core.jobs.child import ChildRequest, problem_of
from core.jobs.observer import Observer
from core.jobs.process import ChildProcess, Died, Done, Failed
from core.jobs.settings import WorkerSettings
from core.jobs.store import JobStore, ended, now
from core.jobs.turns import AllBusy, Held, Turns

logger = structlog.get_logger("falx.jobs")

# How often a running job looks whether it has been cancelled, and its progress is passed on.
BEAT_S: Final = 0.5
_INSIST_S: Final = 0.5
# A claim expires before the docket's lease does, so that whoever a lost job is delivered to can take it at once.
_CLAIM_SHARE: Final = 0.75
# Until somebody else's job may have ended, or the owner's own.
_BUSY_S: Final = 2.0
T = TypeVar("T")
# Erases all files of a job.
Erase = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PutBack:
    """What was delivered is to be delivered again, ``delay_s`` seconds from now."""

    delay_s: float


class TimedOut:
    """The attempt took longer than a job may."""


class Withdrawn:
    """The job has been cancelled or erased, or another attempt has taken over: nothing is to be written."""


class HandedBack:
    """The worker has to go: another one shall do the job."""


Verdict = Done | Failed | Died | TimedOut | Withdrawn | HandedBack


@dataclass(slots=True)
class _Stages:
    """Progress that has not been passed on yet, and the time of the stage that it is in."""

    observer: Observer
    unsent: list[Progress] = field(default_factory=list)
    name: str = "start"
    since: float = field(default_factory=time.monotonic)

    def add(self, progress: Progress) -> None:
        # Within a stage the newest fraction is enough; no stage is left out.
        if self.unsent and self.unsent[-1].stage == progress.stage:
            self.unsent.pop()
        self.unsent.append(progress)
        if progress.stage != self.name:
            self.close()
            self.name = progress.stage

    def close(self) -> None:
        moment = time.monotonic()
        self.observer.stage(self.name, moment - self.since)
        self.since = moment


class Attempt:
    """One attempt. ``leave`` is set by the worker when the attempt has to be handed back."""

    def __init__(
        self,
        store: JobStore,
        settings: WorkerSettings,
        handler: str,
        service: str,
        observer: Observer,
        leave: asyncio.Event,
        erase: Erase | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._handler = handler
        self._service = service
        self._observer = observer
        self._leave = leave
        self._erase = erase
        self._token = uuid.uuid4().hex
        self._stages = _Stages(observer)

    async def run(self, ticket: str, priority: Priority) -> PutBack | None:
        """Do the job whose turn it is as far as it goes; None means that nothing is left to do for ``ticket`` here."""
        lease_s = _CLAIM_SHARE * self._settings.job_lease_s
        turns = Turns(self._store, priority, self._token, lease_s)
        try:
            record = await self._insist(lambda: turns.take(ticket, self._begin))
        except Held:
            return PutBack(self._settings.job_lease_s / 2)
        except AllBusy:
            return PutBack(_BUSY_S)
        put_back = None
        if record is not None:
            put_back = await self._do(record)
        if put_back is None:
            with contextlib.suppress(QueueUnavailable):
                await turns.settle(ticket)
        return put_back

    async def _do(self, record: JobRecord) -> PutBack | None:
        """Do a job that has been begun, and let go of it."""
        try:
            if record.status == "failed":
                self._given_up(record)
                return None
            return await self._work(record)
        finally:
            with contextlib.suppress(QueueUnavailable):
                await self._store.release(record.id, self._token)

    async def _hold(self, job_id: str) -> bool:
        return await self._store.hold(job_id, self._token, _CLAIM_SHARE * self._settings.job_lease_s)

    async def _begin(self, job_id: str) -> JobRecord | None:
        return await self._store.change(job_id, self._begun, dead="attempts")

    def _begun(self, record: JobRecord) -> JobRecord | None:
        """The record with this attempt in it; failed where there have been enough; None where the job has ended."""
        if record.terminal or record.claimed_by == self._token:
            return None if record.terminal else record
        if record.attempts >= self._settings.job_max_attempts:
            return self._failed(record, problem_of(_crashed(record.attempts)))
        return record.model_copy(
            update={
                "status": "running",
                "attempts": record.attempts + 1,
                "started_at": now(),
                "claimed_by": self._token,
                "progress": Progress(stage="start"),
            }
        )

    async def _work(self, record: JobRecord) -> PutBack | None:
        log = logger.bind(job_id=record.id, attempt=record.attempts)
        wait_s = (now() - record.created_at).total_seconds()
        self._observer.started(record, wait_s)
        log.info("job started", wait_s=round(wait_s, 3))
        began = time.monotonic()
        child = await ChildProcess.start(ChildRequest(handler=self._handler, record=record, service=self._service))
        try:
            verdict = await self._attend(record, child)
            if isinstance(verdict, Done | Failed):
                await child.end()
        finally:
            await child.stop()
        self._stages.close()
        run_s = time.monotonic() - began
        after = await self._insist(lambda: self._conclude(record, verdict))
        status = after.status if after is not None else "cancelled"
        self._observer.ended(record, status, run_s)
        log.info("job ended", status=status, run_s=round(run_s, 3), verdict=type(verdict).__name__)
        return await self._follow_up(record, after, verdict, run_s)

    async def _attend(self, record: JobRecord, child: ChildProcess) -> Verdict:
        """Listen to the child until it has ended, or until there is a reason to end it."""
        listener = asyncio.create_task(self._listen(child))
        started = renewed = time.monotonic()
        try:
            while True:
                await asyncio.wait({listener}, timeout=BEAT_S)
                moment = time.monotonic()
                if not await self._beat(record, renew=moment - renewed >= self._settings.job_lease_s / 4):
                    return Withdrawn()
                if moment - renewed >= self._settings.job_lease_s / 4:
                    renewed = moment
                if listener.done():
                    return listener.result()
                if self._leave.is_set():
                    return HandedBack()
                if moment - started > self._settings.job_timeout_s:
                    return TimedOut()
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    async def _listen(self, child: ChildProcess) -> Done | Failed | Died:
        async for message in child.messages():
            if not isinstance(message, Progress):
                return message
            self._stages.add(message)
        return Died("said nothing")

    async def _beat(self, record: JobRecord, *, renew: bool) -> bool:
        """Pass progress on and renew the claim; False when the attempt has nothing more to do.

        While Redis is away the work goes on: what is missed now is caught up with at a later beat.
        """
        try:
            if renew:
                await self._hold(record.id)
            while self._stages.unsent:
                progress = self._stages.unsent[0]
                if await self._store.change(record.id, partial(self._progressed, progress)) is None:
                    return False
                # New progress of the same stage may have replaced it meanwhile.
                if self._stages.unsent and self._stages.unsent[0] is progress:
                    self._stages.unsent.pop(0)
            current = await self._store.find(record.id)
            return current is not None and self._ours(current)
        except QueueUnavailable:
            logger.warning("job goes on without the queue", job_id=record.id)
            return True

    def _ours(self, record: JobRecord) -> bool:
        return record.status == "running" and record.claimed_by == self._token

    def _progressed(self, progress: Progress, record: JobRecord) -> JobRecord | None:
        return record.model_copy(update={"progress": progress}) if self._ours(record) else None

    async def _conclude(self, record: JobRecord, verdict: Verdict) -> JobRecord | None:
        """Write what came of the attempt; None where it is no longer ours to write."""
        return await self._store.change(
            record.id, lambda current: self._concluded(current, verdict), dead="died" if _gave_up(verdict) else ""
        )

    def _concluded(self, record: JobRecord, verdict: Verdict) -> JobRecord | None:
        if not self._ours(record):
            return None
        match verdict:
            case Done():
                return ended(record, "succeeded", self._settings.job_retention_s, outcome=verdict.outcome)
            case TimedOut():
                limit = f"The job ran longer than {self._settings.job_timeout_s:g} s."
                return self._failed(record, problem_of(JobTimedOut(limit)))
            case HandedBack():
                # Not the job's fault: the attempt does not count.
                return _requeued(record, attempts=record.attempts - 1)
            case Failed() if not verdict.retry:
                return self._failed(record, verdict.problem)
            case Failed() | Died():
                if record.attempts < self._settings.job_max_attempts:
                    return _requeued(record, attempts=record.attempts)
                problem = verdict.problem if isinstance(verdict, Failed) else problem_of(_crashed(record.attempts))
                return self._failed(record, problem)
            case Withdrawn():
                return None

    def _failed(self, record: JobRecord, problem: Problem) -> JobRecord:
        return ended(record, "failed", self._settings.job_retention_s, problem=problem)

    async def _follow_up(
        self, record: JobRecord, after: JobRecord | None, verdict: Verdict, run_s: float
    ) -> PutBack | None:
        if isinstance(verdict, Died):
            self._observer.died(record, verdict.how)
            logger.warning("process of a job died", job_id=record.id, attempt=record.attempts, how=verdict.how)
        if after is None:
            await self._clean_up(record.id)
            return None
        if after.status == "succeeded":
            with contextlib.suppress(QueueUnavailable):
                await self._store.measured(run_s)
        if after.status == "failed" and _gave_up(verdict):
            self._given_up(after)
        if after.status != "queued":
            return None
        handed_back = isinstance(verdict, HandedBack)
        return PutBack(0.0 if handed_back else self._settings.job_retry_delay_s * 2 ** (record.attempts - 1))

    async def _clean_up(self, job_id: str) -> None:
        """Erase what the attempt wrote after the job had been deleted. Retention finds what is missed here."""
        with contextlib.suppress(QueueUnavailable, StorageUnavailable):
            if self._erase is not None and await self._store.find(job_id) is None:
                await self._erase(job_id)

    def _given_up(self, record: JobRecord) -> None:
        self._observer.given_up(record)
        logger.error("job given up", job_id=record.id, attempts=record.attempts)

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer, however long Redis stays away: what has been done must not get lost."""
        while True:
            try:
                return await ask()
            except QueueUnavailable:
                await asyncio.sleep(_INSIST_S)


def _crashed(attempts: int) -> JobCrashed:
    return JobCrashed(f"The process that worked on the job died on each of {attempts} attempts.")


def _requeued(record: JobRecord, attempts: int) -> JobRecord:
    fields = {"status": "queued", "attempts": attempts, "claimed_by": None, "started_at": None, "progress": Progress()}
    return record.model_copy(update=fields)


def _gave_up(verdict: Verdict) -> bool:
    return isinstance(verdict, Died) or (isinstance(verdict, Failed) and verdict.retry)
