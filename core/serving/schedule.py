"""Who runs next: the batcher's rules as a plain state machine, without threads, without a clock of its own.

A slot is one request's place. It goes DECODING -> QUEUED -> RUNNING -> DONE, or is released on the way.
Every method takes ``now`` in seconds of one monotonic clock, so a test can drive time itself.
The caller serialises calls (``core.serving.batcher`` holds one lock around them).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Literal, TypeVar

from core.errors import DeadlineExceeded, InvalidRequest, NotReady, QueueFull

Payload = TypeVar("Payload")
DropReason = Literal["expired", "cancelled"]

# Weight of the newest measurement in the running means: follows a change of load within some ten batches.
SMOOTHING = 0.2
# A runner never idles longer than this for the sake of a fuller batch, whatever decoding takes.
MAX_WAIT_S = 0.05
# Clients that keep asking without waiting must not push everybody else's turn further away than this.
MAX_RETRY_AFTER_S = 30.0
DRAINING_RETRY_AFTER_S = 5.0


class State(Enum):
    """Where a slot is."""

    DECODING = "decoding"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_queue`` rows may wait (decoding or queued); a batch holds at most ``max_rows`` and ``max_elements``.

    One request above ``max_rows`` or ``max_elements`` is still run, alone.
    """

    max_queue: int
    max_rows: int = 1
    max_elements: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if min(self.max_queue, self.max_rows, self.max_elements) < 1:
            raise ValueError(f"limits must be at least 1: {self}")


@dataclass(slots=True, eq=False)
class Slot(Generic[Payload]):
    """One admitted request; times in seconds of the schedule's clock, ``elements`` per row."""

    admitted_at: float
    deadline: float | None
    state: State = State.DECODING
    rows: int = 1
    shape: Hashable = None
    elements: int = 0
    queued_at: float = 0.0
    payload: Payload | None = None

    def expired(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now >= self.deadline


@dataclass(frozen=True, slots=True)
class Decision(Generic[Payload]):
    """What a free runner does now: run ``batch``; else ask again at ``wake_at`` or (None) once something changes.

    ``alone``: nothing else is decoding, queued or running. ``dropped`` slots left the queue unrun, each with its
    reason.
    """

    batch: tuple[Slot[Payload], ...] = ()
    alone: bool = False
    wake_at: float | None = None
    dropped: tuple[tuple[Slot[Payload], DropReason], ...] = ()


@dataclass(slots=True)
class _Group(Generic[Payload]):
    """Slots of one shape, gathered from the head of the queue."""

    max_rows: int
    max_elements: int
    slots: list[Slot[Payload]] = field(default_factory=list)
    rows: int = 0
    closed: bool = False

    def offer(self, slot: Slot[Payload]) -> None:
        if self.slots and slot.shape != self.slots[0].shape:
            return
        rows = self.rows + slot.rows
        fits = rows <= self.max_rows and rows * slot.elements <= self.max_elements
        if self.slots and not fits:
            # A smaller one behind it must not overtake it.
            self.closed = True
            return
        self.slots.append(slot)
        self.rows = rows
        self.closed = rows >= self.max_rows or (rows + 1) * slot.elements > self.max_elements


class Schedule(Generic[Payload]):
    """Bounded admission, batches of one shape in order of arrival, and the wait that a refused client is told.

    ``service_s`` is the first guess of seconds per row on one runner, ``cancelled`` tells whether nobody waits
    for a payload any more.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        runners: int = 1,
        service_s: float = 0.05,
        cancelled: Callable[[Payload], bool] = lambda _: False,
    ) -> None:
        self.limits = limits
        self._runners = runners
        self._cancelled = cancelled
        self._service_s = service_s
        self._decode_s = 0.0
        self._decoding: set[Slot[Payload]] = set()
        self._queue: deque[Slot[Payload]] = deque()
        self._waiting_rows = 0
        self._running_rows = 0
        self._running_batches = 0
        self._promised_until = 0.0
        self._draining = False

    @property
    def waiting_rows(self) -> int:
        """Rows admitted and not yet running."""
        return self._waiting_rows

    @property
    def idle(self) -> bool:
        """Whether nothing is decoding, queued or running."""
        return self._waiting_rows == 0 and self._running_rows == 0

    @property
    def service_s(self) -> float:
        """Running mean of seconds per row on one runner."""
        return self._service_s

    @property
    def decode_s(self) -> float:
        """Running mean of seconds from admission to submission."""
        return self._decode_s

    def stop_admitting(self) -> None:
        """From now on every admission is refused; what was admitted is finished."""
        self._draining = True

    def admit(self, now: float, deadline: float | None = None) -> Slot[Payload]:
        """A place for one request. Raises QueueFull, NotReady while draining, DeadlineExceeded."""
        if self._draining:
            raise NotReady("The server is draining.", retry_after_s=DRAINING_RETRY_AFTER_S)
        slot: Slot[Payload] = Slot(admitted_at=now, deadline=deadline)
        if slot.expired(now):
            raise DeadlineExceeded("The deadline passed before the request was admitted.")
        self._reserve(1, now)
        self._decoding.add(slot)
        return slot

    def submit(
        self, slot: Slot[Payload], payload: Payload, *, rows: int, shape: Hashable, elements: int, now: float
    ) -> None:
        """Queue a decoded request. Raises QueueFull when its rows do not fit now, InvalidRequest when they never do."""
        if slot.state is not State.DECODING:
            raise ValueError(f"a slot is submitted once, this one is {slot.state.value}")
        if rows > self.limits.max_queue:
            raise InvalidRequest(f"A request holds at most {self.limits.max_queue} rows, this one has {rows}.")
        self._reserve(rows - 1, now)
        self._decoding.discard(slot)
        slot.state, slot.payload, slot.rows = State.QUEUED, payload, rows
        slot.shape, slot.elements, slot.queued_at = shape, elements, now
        self._decode_s += SMOOTHING * (now - slot.admitted_at - self._decode_s)
        self._queue.append(slot)

    def release(self, slot: Slot[Payload]) -> State:
        """Give up a slot and tell the state it was in; one that is running or done is left alone."""
        state = slot.state
        if state is State.QUEUED:
            self._queue.remove(slot)
        if state in (State.DECODING, State.QUEUED):
            self._leave(slot)
        return state

    def take(self, now: float) -> Decision[Payload]:
        """What a runner that is free at ``now`` does.

        It takes what is queued, or its share of it where other runners are free, at once; it holds back only for
        requests whose decoding should end soon and that could join the batch.
        """
        group, dropped = self._gather(now)
        for slot, _ in dropped:
            self._queue.remove(slot)
            self._leave(slot)
        if not group.slots:
            return Decision(dropped=dropped)
        wake_at = None if group.closed else self._worth_waiting_until(group, now)
        if wake_at is not None:
            return Decision(wake_at=wake_at, dropped=dropped)
        for slot in group.slots:
            self._queue.remove(slot)
            slot.state = State.RUNNING
        self._waiting_rows -= group.rows
        self._running_rows += group.rows
        self._running_batches += 1
        alone = self._waiting_rows == 0 and self._running_batches == 1
        return Decision(batch=tuple(group.slots), alone=alone, dropped=dropped)

    def finish(self, batch: Sequence[Slot[Payload]], seconds: float | None) -> None:
        """The batch has run for ``seconds``; None when the time says nothing about service (it failed)."""
        rows = sum(slot.rows for slot in batch)
        self._running_rows -= rows
        self._running_batches -= 1
        for slot in batch:
            slot.state, slot.payload = State.DONE, None
        if seconds is not None:
            self._service_s += SMOOTHING * (seconds / rows - self._service_s)

    def _reserve(self, rows: int, now: float) -> None:
        if rows and self._waiting_rows + rows > self.limits.max_queue:
            raise QueueFull(
                f"{self._waiting_rows} of {self.limits.max_queue} places are taken.",
                retry_after_s=self._promise(now, rows) - now,
            )
        self._waiting_rows += rows

    def _promise(self, now: float, rows: int) -> float:
        """When a client refused at ``now`` gets its ``rows`` in, if it comes back then.

        By then everything that is ahead has run. Clients refused shortly before come first, so that a refused
        crowd is spread out instead of coming back all at once; no more than a queue's length per second,
        because Retry-After is in whole seconds.
        """
        ahead = self._waiting_rows + self._running_rows + 1
        free_at = now + ahead * self._service_s / self._runners + self._decode_s
        spacing = max(self._service_s / self._runners, 1 / self.limits.max_queue)
        turn = max(free_at, self._promised_until + rows * spacing)
        self._promised_until = min(turn, now + MAX_RETRY_AFTER_S)
        return self._promised_until

    def _gather(self, now: float) -> tuple[_Group[Payload], tuple[tuple[Slot[Payload], DropReason], ...]]:
        group = _Group[Payload](self._fair_share(), self.limits.max_elements)
        dropped: list[tuple[Slot[Payload], DropReason]] = []
        for slot in self._queue:
            if slot.expired(now):
                dropped.append((slot, "expired"))
            elif slot.payload is not None and self._cancelled(slot.payload):
                dropped.append((slot, "cancelled"))
            else:
                group.offer(slot)
                if group.closed:
                    break
        return group, tuple(dropped)

    def _fair_share(self) -> int:
        """Most rows for one batch: free runners share what is there, as working side by side beats any batch."""
        free = max(1, self._runners - self._running_batches)
        return max(1, min(self.limits.max_rows, math.ceil(self._waiting_rows / free)))

    def _worth_waiting_until(self, group: _Group[Payload], now: float) -> float | None:
        """The next moment at which another request may have joined, never later than the oldest one can bear."""
        expected = [at for slot in self._decoding if (at := slot.admitted_at + self._decode_s) > now]
        if not expected:
            return None
        oldest = group.slots[0]
        latest = oldest.queued_at + min(self._decode_s, MAX_WAIT_S)
        for slot in group.slots:
            if slot.deadline is not None:
                latest = min(latest, slot.deadline - group.rows * self._service_s)
        wake_at = min(latest, *expected)
        return wake_at if wake_at > now else None

    def _leave(self, slot: Slot[Payload]) -> None:
        self._decoding.discard(slot)
        self._waiting_rows -= slot.rows
        slot.state, slot.payload = State.DONE, None
