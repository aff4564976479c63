"""A worker: one job at a time, urgent ones first, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

import structlog
from docket import Docket, Worker
from docket.dependencies import AdmissionBlocked, CurrentExecution
from docket.execution import Execution

from core.contracts.jobs import PRIORITIES, Priority
from core.contracts.service import ModelSummary
from core.errors import QueueUnavailable, StartupError
from core.jobs.attempt import Attempt, Erase, PutBack
from core.jobs.connection import TASK, Dockets, open_client, open_dockets
from core.jobs.handler import load_handler
from core.jobs.keys import Keys
from core.jobs.lull import Lull
from core.jobs.observer import Observer, Silent
from core.jobs.presence import announce, withdraw
from core.jobs.settings import WorkerSettings
from core.jobs.store import JobStore
from core.jobs.upkeep import Upkeep

logger = structlog.get_logger("falx.jobs")

# How long a lane's read blocks. A lane that has been shut may still deliver for so long.
_POLL: Final = timedelta(milliseconds=100)
_RECONNECT: Final = timedelta(seconds=1)
# Docket takes no wait at all for its own tenth of a second; what is past when it is looked at is delivered at once.
_AT_ONCE: Final = timedelta(microseconds=1)
_UPKEEP_S: Final = 10.0
# A default argument that docket replaces by the delivery itself.
_EXECUTION: Final = CurrentExecution()
# What an attempt needs at most to notice that it has to go.
_LEAVE_LIMIT_S: Final = 10.0


class JobWorker:
    """Takes jobs from both dockets, never more than one at a time.

    Each docket has a lane: a docket worker whose ``concurrency`` is 0 while the lane is shut. At most one lane is open,
    so that no job is claimed that would have to wait here while another worker is free. The urgent lane opens first
    and again after each job. Where nothing is there to take (``Lull``) there are no lanes at all. ``models`` is what
    it says that it has; it may be set until ``run``.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        handler: str,
        *,
        service: str = "worker",
        observer: Observer | None = None,
        erase: Erase | None = None,
        models: tuple[ModelSummary, ...] = (),
        name: str | None = None,
    ) -> None:
        load_handler(handler)
        if settings.redis_url is None:
            raise StartupError("FALX_REDIS_URL is not set: a worker needs the queue's address.")
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._url = settings.redis_url
        self._settings = settings
        self._handler = handler
        self._service = service
        self._observer = observer or Silent()
        self._erase = erase
        self.models = models
        self._stop = asyncio.Event()
        self._leave = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._taken = asyncio.Event()
        self._current: asyncio.Task[None] | None = None
        self._lanes: list[asyncio.Task[None]] = []
        self._closing = False

    def stop(self) -> None:
        """Take no more jobs and end when the running one has; called again: hand the running one back at once."""
        if self._stop.is_set():
            self._leave.set()
        self._stop.set()

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return not self._idle.is_set()

    async def run(self) -> None:
        """Work until ``stop``. Redis may go and come back meanwhile."""
        keys = Keys(self._settings.jobs_name)
        async with open_dockets(self._url, keys) as dockets, open_client(dockets) as client:
            store = JobStore(client, keys, self._settings.redis_timeout_s)
            for priority in PRIORITIES:
                dockets[priority].register(self._task(store, priority), names=[TASK])
            async with asyncio.TaskGroup() as group:
                turns = group.create_task(self._take_turns(dockets))
                tidy = group.create_task(self._keep_tidy(dockets, store))
                logger.info("worker ready", worker=self.name, handler=self._handler)
                await self._stop.wait()
                with contextlib.suppress(QueueUnavailable):
                    await withdraw(store, self.name)
                await self._drain(turns)
                tidy.cancel()

    @asynccontextmanager
    async def _open_lanes(self, dockets: Dockets) -> AsyncIterator[dict[Priority, Worker]]:
        """Lanes that run, all shut as yet. They end once they have settled what they have read."""
        stack = AsyncExitStack()
        async with asyncio.TaskGroup() as group:
            lanes = {name: await stack.enter_async_context(self._lane(dockets[name])) for name in PRIORITIES}
            self._closing = False
            self._lanes = [group.create_task(lane.run_forever()) for lane in lanes.values()]
            # Until they have begun they cannot be ended.
            await asyncio.sleep(0)
            try:
                yield lanes
            finally:
                self._closing = True
                # A read that is broken off may have been answered: what it brought would wait for its lease to end.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.redis_timeout_s):
                        await stack.aclose()
                self._break_off()

    def _lane(self, docket: Docket) -> Worker:
        return Worker(
            docket,
            name=self.name,
            concurrency=0,
            redelivery_timeout=timedelta(seconds=self._settings.job_lease_s),
            reconnection_delay=_RECONNECT,
            minimum_check_interval=_POLL,
            schedule_automatic_tasks=False,
        )

    def _task(self, store: JobStore, priority: Priority) -> Callable[..., Awaitable[None]]:
        """What the docket of ``priority`` calls."""

        async def run_job(job_id: str, execution: Execution = _EXECUTION) -> None:
            await self._deliver(store, job_id, priority, execution)

        return run_job

    async def _take_turns(self, dockets: Dockets) -> None:
        lull = Lull(dockets, self._settings.job_lease_s, self._settings.redis_timeout_s)
        while not self._stop.is_set():
            await lull.end(self._stop)
            if there := await lull.work():
                async with self._open_lanes(dockets) as lanes:
                    # The first one opens before its lane has looked whether it is shut, so nothing waits for that.
                    while there and not self._stop.is_set():
                        await self._turns(lanes, there)
                        there = await lull.work()

    async def _turns(self, lanes: dict[Priority, Worker], there: Sequence[Priority]) -> None:
        """Open the lanes of ``there`` one after the other until one finds a job; return when that has ended."""
        for priority in there:
            if self._stop.is_set() or await self._turn(lanes[priority]):
                break
        await self._idle.wait()

    async def _turn(self, lane: Worker) -> bool:
        """Open a lane for as long as it needs to find a job; whether it found one."""
        poll_s = _POLL.total_seconds()
        self._taken.clear()
        lane.concurrency = 1
        await self._busy_within(2 * poll_s)
        lane.concurrency = 0
        # A read that began before the lane was shut may still bring one.
        await self._busy_within(1.5 * poll_s)
        return self.busy

    async def _busy_within(self, limit_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._taken.wait()

    async def _deliver(self, store: JobStore, ticket: str, priority: Priority, execution: Execution) -> None:
        """One of the waiting jobs may start. Returning settles the delivery; ``AdmissionBlocked`` puts it back."""
        if self.busy or self._stop.is_set() or self._closing:
            # The lane that brought it shuts at once, or it would bring it again.
            self._taken.set()
            raise AdmissionBlocked(execution, "a worker that takes nothing", retry_delay=_AT_ONCE)
        self._idle.clear()
        self._taken.set()
        self._current = asyncio.current_task()
        try:
            attempt = Attempt(
                store, self._settings, self._handler, self._service, self._observer, self._leave, self._erase
            )
            put_back = await attempt.run(ticket, priority)
        finally:
            self._current = None
            self._taken.clear()
            self._idle.set()
        if isinstance(put_back, PutBack):
            delay = max(_AT_ONCE, timedelta(seconds=put_back.delay_s))
            raise AdmissionBlocked(execution, "another attempt", retry_delay=delay)

    async def _drain(self, turns: asyncio.Task[None]) -> None:
        """Let the running job end, for as long as that may take; then hand it back."""
        if self.busy:
            logger.info("worker drains", worker=self.name)
        leave = asyncio.create_task(self._leave.wait())
        await asyncio.wait({leave, turns}, timeout=self._settings.job_drain_s, return_when=asyncio.FIRST_COMPLETED)
        leave.cancel()
        self._leave.set()
        await asyncio.wait({turns}, timeout=_LEAVE_LIMIT_S)
        if self._current is not None:
            # Redis is away and keeps the attempt waiting. Its lease will run out, and another worker take the job.
            self._current.cancel()
            self._break_off()
        turns.cancel()

    def _break_off(self) -> None:
        """End the lanes whatever they do. Docket settles nothing of what is cancelled together with its lane."""
        for lane in self._lanes:
            lane.cancel()

    async def _keep_tidy(self, dockets: Dockets, store: JobStore) -> None:
        upkeep = Upkeep(dockets, store, self._settings, self._settings.job_lease_s, self._erase, self.name)
        while True:
            if not self._stop.is_set():
                with contextlib.suppress(QueueUnavailable):
                    await announce(store, self.name, self.models)
            await upkeep.run(_UPKEEP_S)
            await asyncio.sleep(_UPKEEP_S)


async def run_worker(worker: JobWorker) -> None:
    """Work until SIGTERM or SIGINT; the second one of them hands the running job back at once."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, worker.stop)
    try:
        await worker.run()
    finally:
        for number in signals:
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)
