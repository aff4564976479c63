"""From concurrent requests to runs of one network: admission, runner threads, results back to the event loop.

The rules live in ``core.serving.schedule``; this is the thin shell of threads around them. One lock guards the
schedule and is never held while anything is computed. One wake-up of the event loop per batch carries all results.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from core.errors import DeadlineExceeded, InvalidRequest
from core.serving.row_buffer import RowBuffer
from core.serving.schedule import Decision, DropReason, Limits, Schedule, Slot, State

Array = npt.NDArray[Any]
Out = TypeVar("Out")
Value = TypeVar("Value")
Made = TypeVar("Made")

DRAIN_POLL_S = 0.005

Forward = Callable[[Array], Sequence[Out]]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Value]):
    """A result, the seconds it waited between submission and run, and the seconds its batch ran."""

    value: Value
    queue_s: float
    inference_s: float


class BatchObserver(Protocol):
    """Told what happens, from runner threads and from the event loop; must be quick and must not raise."""

    def ran(self, *, rows: int, queue_s: Sequence[float], inference_s: float) -> None: ...

    def dropped(self, reason: DropReason) -> None: ...


class _Silent:
    def ran(self, *, rows: int, queue_s: Sequence[float], inference_s: float) -> None:
        pass

    def dropped(self, reason: DropReason) -> None:
        pass


@dataclass(slots=True, eq=False)
class _Work(Generic[Out]):
    """What travels through the schedule: rows (n, ...) and the future of the request that waits for them."""

    rows: Array
    future: asyncio.Future[Outcome[list[Out]]]
    loop: asyncio.AbstractEventLoop


_Settled = tuple[_Work[Out], Outcome[list[Out]] | Exception]


class Ticket(Generic[Out]):
    """A place in the queue, taken before decoding. Leaving the ``with`` block unsubmitted gives it back."""

    def __init__(self, batcher: Batcher[Out], slot: Slot[_Work[Out]]) -> None:
        self._batcher = batcher
        self._slot = slot

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batcher.give_back(self._slot)

    @property
    def left_s(self) -> float:
        """For how many seconds its request is waited for yet, infinity without a deadline; 0 once it is given back."""
        return self._batcher.left_s(self._slot)

    async def submit_rows(self, rows: Array) -> Outcome[list[Out]]:
        """Run rows (n, ...) that belong together; the value holds one result per row.

        Raises DeadlineExceeded once the deadline has passed, QueueFull when n rows do not fit any more,
        InvalidRequest when they never would, and whatever the network raised for these very rows.
        """
        return await self._batcher.run_slot(self._slot, rows)

    async def submit_made(
        self, executor: Executor, make: Callable[[], tuple[Made, Array]]
    ) -> tuple[Made, Outcome[Out]]:
        """Run ``make`` on ``executor`` and the item that it makes, its second value, right from there.

        The event loop is not woken in between. Raises what ``make`` and ``submit_rows`` raise.
        """
        made, outcome = await self._batcher.run_made(self._slot, executor, make)
        return made, Outcome(outcome.value[0], outcome.queue_s, outcome.inference_s)


class Batcher(Generic[Out]):
    """Runs ``forward`` on batches from ``runners`` threads. All tickets are taken on one event loop.

    ``forward`` maps rows (n, ...) to n results; it must not keep its argument, whose memory is used again. ``alone``
    does the same for a batch beside which nothing waits or runs, such as a single caller's: it may use all cores.
    ``buckets``: batch sizes to pad to with zeros, ascending (empty: run the size that comes). ``clock`` must be
    the monotonic clock that deadlines are given in.
    """

    def __init__(
        self,
        forward: Forward[Out],
        limits: Limits,
        *,
        alone: Forward[Out] | None = None,
        runners: int = 1,
        buckets: Sequence[int] = (),
        service_s: float = 0.05,
        observer: BatchObserver | None = None,
        name: str = "model",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forward = forward
        self._alone = alone or forward
        self._buckets = tuple(buckets)
        self._observer = observer or _Silent()
        self._clock = clock
        self._schedule: Schedule[_Work[Out]] = Schedule(
            limits, runners=runners, service_s=service_s, cancelled=lambda work: work.future.cancelled()
        )
        self._changed = threading.Condition(threading.Lock())
        self._draining = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-runner-{index}", daemon=True) for index in range(runners)
        ]

    @property
    def waiting(self) -> int:
        """Rows admitted and not yet running."""
        return self._schedule.waiting_rows

    @property
    def limits(self) -> Limits:
        """The bounds it was made with."""
        return self._schedule.limits

    def start(self) -> Self:
        """Start the runner threads."""
        for thread in self._threads:
            thread.start()
        return self

    def admit(self, deadline: float | None = None) -> Ticket[Out]:
        """Take a place before decoding; ``deadline`` in seconds of the clock.

        Raises QueueFull with the seconds after which a retry gets in, NotReady while draining, DeadlineExceeded.
        """
        with self._changed:
            return Ticket(self, self._schedule.admit(self._clock(), deadline))

    async def drain(self) -> None:
        """Refuse new tickets, finish every admitted one, end the threads."""
        with self._changed:
            self._draining = True
            self._schedule.stop_admitting()
            self._changed.notify_all()
        # Not a join on a worker thread: a drain that is cancelled must leave no thread behind that waits for ever.
        while any(thread.is_alive() for thread in self._threads):  # noqa: ASYNC110 - threads have no event to await
            await asyncio.sleep(DRAIN_POLL_S)

    def left_s(self, slot: Slot[_Work[Out]]) -> float:
        """For how many seconds the request of a slot that is being decoded is waited for yet."""
        if slot.state is not State.DECODING:
            return 0.0
        return math.inf if slot.deadline is None else max(0.0, slot.deadline - self._clock())

    def give_back(self, slot: Slot[_Work[Out]], *, expired: bool = False) -> None:
        """Release a slot that nobody waits for; a queued one counts as dropped."""
        with self._changed:
            state = self._schedule.release(slot)
            if state is State.DECODING or (self._draining and state is State.QUEUED):
                # A runner may be holding back for just this request, or a drain may be over.
                self._changed.notify_all()
        if state is State.QUEUED:
            self._observer.dropped("expired" if expired or slot.expired(self._clock()) else "cancelled")

    async def run_slot(self, slot: Slot[_Work[Out]], rows: Array) -> Outcome[list[Out]]:
        """Queue ``rows`` under ``slot`` and wait for their results."""
        if len(rows) == 0:
            raise InvalidRequest("A request holds at least one row.")
        loop = asyncio.get_running_loop()
        work: _Work[Out] = _Work(rows, loop.create_future(), loop)
        with self._changed:
            self._enqueue(slot, work)
        return await self._result(slot, work.future)

    async def run_made(
        self, slot: Slot[_Work[Out]], executor: Executor, make: Callable[[], tuple[Made, Array]]
    ) -> tuple[Made, Outcome[list[Out]]]:
        """Have ``executor`` make something and an item, queue the item under ``slot``, and wait for its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome[list[Out]]] = loop.create_future()
        kept: list[Made] = []

        def task() -> None:
            try:
                made, item = make()
                kept.append(made)
                with self._changed:
                    # Given back meanwhile: the client hung up or the deadline passed, and nobody waits.
                    if slot.state is State.DECODING:
                        self._enqueue(slot, _Work(item[np.newaxis], future, loop))
            except BaseException as error:
                # A panic of native code is none that ``Exception`` covers, and the caller waits for the future alone.
                with suppress(RuntimeError):  # the loop has closed
                    loop.call_soon_threadsafe(_fail, future, error)

        running = executor.submit(task)
        try:
            outcome = await self._result(slot, future)
        finally:
            running.cancel()
        return kept[0], outcome

    def _enqueue(self, slot: Slot[_Work[Out]], work: _Work[Out]) -> None:
        """Under the lock."""
        rows = work.rows
        shape = (rows.dtype, rows.shape[1:])
        self._schedule.submit(slot, work, rows=len(rows), shape=shape, elements=rows[0].size, now=self._clock())
        self._changed.notify()

    async def _result(self, slot: Slot[_Work[Out]], future: asyncio.Future[Outcome[list[Out]]]) -> Outcome[list[Out]]:
        timer = None
        if slot.deadline is not None:
            timer = future.get_loop().call_later(slot.deadline - self._clock(), self._expire, slot, future)
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            self.give_back(slot)

    def _expire(self, slot: Slot[_Work[Out]], future: asyncio.Future[Outcome[list[Out]]]) -> None:
        self.give_back(slot, expired=True)
        _fail(future, _too_late())

    def _run(self) -> None:
        buffer = RowBuffer(max(self._schedule.limits.max_rows, *self._buckets, 1))
        while (decision := self._next_batch()).batch:
            self._execute(decision, buffer)

    def _next_batch(self) -> Decision[_Work[Out]]:
        """Wait for work; a decision without a batch once a drain is over."""
        with self._changed:
            while True:
                now = self._clock()
                decision = self._schedule.take(now)
                self._settle_dropped(decision.dropped)
                if decision.batch or (self._draining and self._schedule.idle):
                    return decision
                self._changed.wait(None if decision.wake_at is None else decision.wake_at - now)

    def _settle_dropped(self, dropped: Sequence[tuple[Slot[_Work[Out]], DropReason]]) -> None:
        # The request's own timer or its cancellation tells the client; here it is only counted.
        for _, reason in dropped:
            self._observer.dropped(reason)

    def _execute(self, decision: Decision[_Work[Out]], buffer: RowBuffer) -> None:
        batch = decision.batch
        forward = self._alone if decision.alone else self._forward
        works = [slot.payload for slot in batch if slot.payload is not None]
        started = self._clock()
        failed = False
        try:
            values = self._forward_all(forward, [work.rows for work in works], buffer)
        except Exception as error:
            failed = True
            values = [error] if len(works) == 1 else self._one_by_one(batch, works, buffer)
        seconds = self._clock() - started
        waits = [started - slot.queued_at for slot in batch]
        with self._changed:
            # What runs alone may have all cores: its time tells nothing of the next one's in a crowd.
            self._schedule.finish(batch, None if failed or forward is not self._forward else seconds)
            if self._draining:
                self._changed.notify_all()
        settled: list[_Settled[Out]] = [
            (work, value if isinstance(value, Exception) else Outcome(value, wait, seconds))
            for work, value, wait in zip(works, values, waits, strict=True)
        ]
        with suppress(RuntimeError):  # the loop has closed, so nobody waits any more
            works[0].loop.call_soon_threadsafe(_settle, settled)
        self._observer.ran(rows=sum(slot.rows for slot in batch), queue_s=waits, inference_s=seconds)

    def _one_by_one(
        self, batch: Sequence[Slot[_Work[Out]]], works: Sequence[_Work[Out]], buffer: RowBuffer
    ) -> list[list[Out] | Exception]:
        """After a failed batch: only the culprit shall fail."""
        values: list[list[Out] | Exception] = []
        for slot, work in zip(batch, works, strict=True):
            if work.future.done() or slot.expired(self._clock()):
                values.append(_too_late())
                continue
            try:
                values += self._forward_all(self._forward, [work.rows], buffer)
            except Exception as error:
                values.append(error)
        return values

    def _forward_all(
        self, forward: Forward[Out], requests: Sequence[Array], buffer: RowBuffer
    ) -> list[list[Out] | Exception]:
        """Results per request, in order."""
        limit = self._schedule.limits.max_rows
        rows = requests[0] if len(requests) == 1 else None
        if rows is not None and len(rows) > limit:
            chunks = [rows[start : start + limit] for start in range(0, len(rows), limit)]
            return [[value for chunk in chunks for value in self._forward_rows(forward, [chunk], buffer)]]
        values = self._forward_rows(forward, requests, buffer)
        ends = np.cumsum([len(request) for request in requests]).tolist()
        return [values[end - len(request) : end] for request, end in zip(requests, ends, strict=True)]

    def _forward_rows(self, forward: Forward[Out], requests: Sequence[Array], buffer: RowBuffer) -> list[Out]:
        count = sum(len(request) for request in requests)
        size = next((bucket for bucket in self._buckets if bucket >= count), count)
        rows = requests[0] if len(requests) == 1 and size == count else buffer.fill(requests, size)
        values = forward(rows)
        if len(values) != size:
            raise RuntimeError(f"the network returned {len(values)} results for {size} rows")
        return list(values[:count])


def _settle(settled: Sequence[_Settled[Out]]) -> None:
    for work, value in settled:
        if work.future.done():
            continue
        if isinstance(value, Exception):
            work.future.set_exception(value)
        else:
            work.future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed before the model had answered.")
