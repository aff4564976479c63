"""The batcher's rules hold in any order of events: a state machine with a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.errors import QueueFull
from core.serving.schedule import MAX_RETRY_AFTER_S, MAX_WAIT_S, Limits, Schedule, Slot, State

SHAPES = {"small": 4, "large": 16}
"""Elements of one row; 16 lets only two rows into a batch of 40 elements."""

ANY = st.integers(0, 1_000_000)


@dataclass(eq=False)
class Job:
    """A payload, and what became of it."""

    number: int
    shape: str
    cancelled: bool = False
    end: str = ""


class ScheduleMachine(RuleBasedStateMachine):
    """Any order of admissions, submissions, hang-ups, runs and passing time: every job ends exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(max_queue=6, max_rows=3, max_elements=40)
        self.schedule: Schedule[Job] = Schedule(self.limits, runners=2, cancelled=lambda job: job.cancelled)
        self.now = 100.0
        self.decoding: list[Slot[Job]] = []
        self.jobs: dict[Slot[Job], Job] = {}
        self.running: list[tuple[Slot[Job], ...]] = []
        self.last_started = dict.fromkeys(SHAPES, -1)

    def queued(self) -> list[Slot[Job]]:
        return [slot for slot in self.jobs if slot.state is State.QUEUED]

    def end(self, slot: Slot[Job], how: str) -> None:
        job = self.jobs[slot]
        assert job.end == "", f"job {job.number} ends twice"
        job.end = how

    @rule(patience=st.none() | st.floats(0.001, 0.3))
    def admit(self, patience: float | None) -> None:
        deadline = None if patience is None else self.now + patience
        if self.schedule.waiting_rows < self.limits.max_queue:
            self.decoding.append(self.schedule.admit(self.now, deadline))
            return
        with pytest.raises(QueueFull) as refusal:
            self.schedule.admit(self.now, deadline)
        assert refusal.value.retry_after_s is not None
        assert 0 < refusal.value.retry_after_s <= MAX_RETRY_AFTER_S

    @precondition(lambda self: self.decoding)
    @rule(pick=ANY, rows=st.integers(1, 4), shape=st.sampled_from(sorted(SHAPES)))
    def submit(self, pick: int, rows: int, shape: str) -> None:
        slot = self.decoding.pop(pick % len(self.decoding))
        job = Job(len(self.jobs), shape)
        if self.schedule.waiting_rows + rows - 1 <= self.limits.max_queue:
            self.schedule.submit(slot, job, rows=rows, shape=shape, elements=SHAPES[shape], now=self.now)
            self.jobs[slot] = job
            return
        with pytest.raises(QueueFull):
            self.schedule.submit(slot, job, rows=rows, shape=shape, elements=SHAPES[shape], now=self.now)
        assert self.schedule.release(slot) is State.DECODING

    @precondition(lambda self: self.decoding)
    @rule(pick=ANY)
    def fail_to_decode(self, pick: int) -> None:
        slot = self.decoding.pop(pick % len(self.decoding))
        assert self.schedule.release(slot) is State.DECODING

    @precondition(lambda self: self.queued())
    @rule(pick=ANY)
    def hang_up(self, pick: int) -> None:
        slot = self.queued()[pick % len(self.queued())]
        self.jobs[slot].cancelled = True

    @precondition(lambda self: self.jobs)
    @rule(pick=ANY)
    def give_back(self, pick: int) -> None:
        slot = list(self.jobs)[pick % len(self.jobs)]
        if self.schedule.release(slot) is State.QUEUED:
            self.end(slot, "released")

    @precondition(lambda self: len(self.running) < 2)
    @rule()
    def take(self) -> None:
        decision = self.schedule.take(self.now)
        for slot, reason in decision.dropped:
            assert slot.expired(self.now) if reason == "expired" else self.jobs[slot].cancelled
            self.end(slot, reason)
        if decision.wake_at is not None:
            assert self.decoding
            assert not decision.batch
            assert self.now < decision.wake_at <= self.now + MAX_WAIT_S
        elif decision.batch:
            self.check_batch(decision.batch)
            self.running.append(decision.batch)
        else:
            assert not self.queued()

    def check_batch(self, batch: tuple[Slot[Job], ...]) -> None:
        rows = sum(slot.rows for slot in batch)
        assert len({slot.shape for slot in batch}) == 1
        assert len(batch) == 1 or (rows <= self.limits.max_rows and rows * batch[0].elements <= 40)
        for slot in batch:
            job = self.jobs[slot]
            assert slot.payload is job
            assert not job.cancelled
            assert not slot.expired(self.now)
            assert job.number > self.last_started[job.shape]
            self.last_started[job.shape] = job.number

    @precondition(lambda self: self.running)
    @rule(pick=ANY, seconds=st.none() | st.floats(0.001, 0.1))
    def finish(self, pick: int, seconds: float | None) -> None:
        batch = self.running.pop(pick % len(self.running))
        self.schedule.finish(batch, seconds)
        for slot in batch:
            self.end(slot, "ran")

    @rule(seconds=st.floats(0.0, 0.3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def waiting_is_what_was_admitted_and_not_begun(self) -> None:
        expected = len(self.decoding) + sum(slot.rows for slot in self.queued())
        assert self.schedule.waiting_rows == expected <= self.limits.max_queue

    def teardown(self) -> None:
        while self.decoding:
            self.fail_to_decode(0)
        while self.queued() or self.running:
            if self.queued() and len(self.running) < 2:
                self.take()
            else:
                self.finish(0, None)
        assert self.schedule.idle
        assert all(job.end for job in self.jobs.values())


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
