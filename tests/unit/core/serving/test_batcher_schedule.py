"""The batcher's rules one by one, with a clock of its own."""

from __future__ import annotations

import pytest

from core.errors import DeadlineExceeded, InvalidRequest, NotReady, QueueFull
from core.serving.schedule import MAX_RETRY_AFTER_S, MAX_WAIT_S, Limits, Schedule, Slot


def make_schedule(
    *, max_queue: int = 8, max_rows: int = 4, runners: int = 1, service_s: float = 0.1, max_elements: int = 10**6
) -> Schedule[str]:
    limits = Limits(max_queue=max_queue, max_rows=max_rows, max_elements=max_elements)
    return Schedule(limits, runners=runners, service_s=service_s)


def submit(schedule: Schedule[str], payload: str, now: float, *, shape: str = "s", rows: int = 1) -> Slot[str]:
    slot = schedule.admit(now)
    schedule.submit(slot, payload, rows=rows, shape=shape, elements=1, now=now)
    return slot


def payloads(batch: tuple[Slot[str], ...]) -> list[str | None]:
    return [slot.payload for slot in batch]


def learn_decoding(schedule: Schedule[str], seconds: float) -> None:
    """Let the schedule see requests whose decoding takes ``seconds``, until it expects that."""
    for _ in range(40):
        slot = schedule.admit(0.0)
        schedule.submit(slot, "past", rows=1, shape="s", elements=1, now=seconds)
        schedule.finish(schedule.take(seconds).batch, schedule.service_s)
    assert schedule.decode_s == pytest.approx(seconds, rel=0.01)


def test_lone_item_is_taken_at_once() -> None:
    schedule = make_schedule()
    learn_decoding(schedule, 0.04)
    submit(schedule, "a", 10.0)
    assert payloads(schedule.take(10.0).batch) == ["a"]


def test_everything_queued_is_taken_together_up_to_the_limit() -> None:
    schedule = make_schedule(max_rows=4)
    for name in "abcdef":
        submit(schedule, name, 10.0)
    assert payloads(schedule.take(10.0).batch) == ["a", "b", "c", "d"]
    assert payloads(schedule.take(10.0).batch) == ["e", "f"]


def test_free_runners_share_what_is_queued() -> None:
    schedule = make_schedule(max_rows=8, runners=2)
    for name in "abcde":
        submit(schedule, name, 10.0)
    assert payloads(schedule.take(10.0).batch) == ["a", "b", "c"]
    submit(schedule, "f", 10.0)
    assert payloads(schedule.take(10.0).batch) == ["d", "e", "f"]


def test_nobody_waits_for_a_decode_while_another_runner_is_free_for_it() -> None:
    schedule = make_schedule(max_rows=8, runners=2)
    learn_decoding(schedule, 0.04)
    schedule.admit(10.0)
    submit(schedule, "a", 10.0)
    assert payloads(schedule.take(10.0).batch) == ["a"]


def test_runner_waits_for_a_decode_that_should_end_soon() -> None:
    schedule = make_schedule()
    learn_decoding(schedule, 0.04)
    late = schedule.admit(10.0)
    submit(schedule, "a", 10.0)
    decision = schedule.take(10.0)
    assert not decision.batch
    assert decision.wake_at == pytest.approx(10.0 + schedule.decode_s)
    schedule.submit(late, "b", rows=1, shape="s", elements=1, now=10.03)
    assert payloads(schedule.take(10.03).batch) == ["a", "b"]


def test_runner_never_waits_longer_than_decoding_is_expected_to_take() -> None:
    schedule = make_schedule()
    learn_decoding(schedule, 0.04)
    schedule.admit(10.0)  # hangs in its decoder
    submit(schedule, "a", 10.0)
    wake_at = schedule.take(10.0).wake_at
    assert wake_at is not None
    schedule.admit(10.03)  # one more on its way does not prolong the wait of the first
    assert payloads(schedule.take(wake_at).batch) == ["a"]


def test_slow_decoders_keep_no_runner_idle_longer_than_the_bound() -> None:
    schedule = make_schedule()
    learn_decoding(schedule, 2.0)
    schedule.admit(10.0)
    submit(schedule, "a", 10.0)
    wake_at = schedule.take(10.0).wake_at
    assert wake_at is not None
    assert wake_at <= 10.0 + MAX_WAIT_S


def test_full_batch_waits_for_nobody() -> None:
    schedule = make_schedule(max_rows=1)
    learn_decoding(schedule, 0.04)
    schedule.admit(10.0)
    submit(schedule, "a", 10.0)
    assert payloads(schedule.take(10.0).batch) == ["a"]


def test_waiting_stops_in_time_for_the_deadline() -> None:
    schedule = make_schedule(service_s=0.02)
    learn_decoding(schedule, 0.04)
    schedule.admit(10.0)
    slot = schedule.admit(10.0, 10.03)
    schedule.submit(slot, "a", rows=1, shape="s", elements=1, now=10.0)
    assert schedule.take(10.0).wake_at == pytest.approx(10.01, abs=0.001)


def test_batches_hold_one_shape_and_nobody_is_overtaken_within_it() -> None:
    schedule = make_schedule(max_rows=3)
    for name, shape, rows in [("a", "x", 2), ("b", "y", 1), ("c", "x", 2), ("d", "x", 1)]:
        submit(schedule, name, 10.0, shape=shape, rows=rows)
    # c does not fit behind a, and d, which would, comes after c.
    assert payloads(schedule.take(10.0).batch) == ["a"]
    assert payloads(schedule.take(10.0).batch) == ["b"]
    assert payloads(schedule.take(10.0).batch) == ["c", "d"]


def test_elements_bound_a_batch_but_never_a_single_request() -> None:
    schedule = make_schedule(max_rows=8, max_elements=100)
    for name in "abc":
        slot = schedule.admit(10.0)
        schedule.submit(slot, name, rows=1, shape="s", elements=50, now=10.0)
    huge = schedule.admit(10.0)
    schedule.submit(huge, "huge", rows=1, shape="t", elements=1000, now=10.0)
    assert [payloads(schedule.take(10.0).batch) for _ in range(3)] == [["a", "b"], ["c"], ["huge"]]


def test_elements_bound_requests_of_several_rows() -> None:
    schedule = make_schedule(max_rows=8, max_elements=100)
    for name, rows in [("a", 1), ("b", 2)]:
        slot = schedule.admit(10.0)
        schedule.submit(slot, name, rows=rows, shape="s", elements=40, now=10.0)
    assert [payloads(schedule.take(10.0).batch) for _ in range(2)] == [["a"], ["b"]]


def test_expired_and_cancelled_are_dropped_before_they_run() -> None:
    gone: set[str] = {"gone"}
    schedule: Schedule[str] = Schedule(Limits(8, max_rows=4), cancelled=gone.__contains__)
    patient = schedule.admit(10.0, 99.0)
    hasty = schedule.admit(10.0, 10.5)
    for slot, name in [(hasty, "hasty"), (patient, "patient")]:
        schedule.submit(slot, name, rows=1, shape="s", elements=1, now=10.1)
    submit(schedule, "gone", 10.2)
    decision = schedule.take(10.5)
    assert payloads(decision.batch) == ["patient"]
    assert [reason for _, reason in decision.dropped] == ["expired", "cancelled"]
    assert schedule.waiting_rows == 0


def test_passed_deadline_is_not_admitted() -> None:
    with pytest.raises(DeadlineExceeded):
        make_schedule().admit(10.0, 10.0)


def test_released_slot_makes_room() -> None:
    schedule = make_schedule(max_queue=1)
    slot = schedule.admit(10.0)
    with pytest.raises(QueueFull):
        schedule.admit(10.0)
    schedule.release(slot)
    schedule.admit(10.0)


def test_running_requests_take_no_place_in_the_queue() -> None:
    schedule = make_schedule(max_queue=1)
    submit(schedule, "a", 10.0)
    schedule.take(10.0)
    submit(schedule, "b", 10.0)
    assert not schedule.idle


def test_rows_count_against_the_queue() -> None:
    schedule = make_schedule(max_queue=4)
    submit(schedule, "a", 10.0, rows=3)
    slot = schedule.admit(10.0)
    with pytest.raises(QueueFull):
        schedule.submit(slot, "b", rows=2, shape="s", elements=1, now=10.0)
    with pytest.raises(InvalidRequest, match="at most 4 rows"):
        schedule.submit(slot, "c", rows=5, shape="s", elements=1, now=10.0)
    schedule.submit(slot, "d", rows=1, shape="s", elements=1, now=10.0)


def test_slot_is_submitted_once() -> None:
    schedule = make_schedule()
    slot = submit(schedule, "a", 10.0)
    with pytest.raises(ValueError, match="once"):
        schedule.submit(slot, "a", rows=1, shape="s", elements=1, now=10.0)


def test_draining_admits_nobody_and_finishes_what_is_there() -> None:
    schedule = make_schedule()
    early = schedule.admit(10.0)
    schedule.stop_admitting()
    with pytest.raises(NotReady):
        schedule.admit(10.0)
    schedule.submit(early, "a", rows=1, shape="s", elements=1, now=10.1)
    assert payloads(schedule.take(10.1).batch) == ["a"]


def test_service_time_follows_what_is_measured() -> None:
    schedule = make_schedule(max_rows=4, service_s=1.0)
    for _ in range(60):
        for name in "abcd":
            submit(schedule, name, 10.0)
        schedule.finish(schedule.take(10.0).batch, 0.2)
    assert schedule.service_s == pytest.approx(0.05, rel=0.01)
    submit(schedule, "broken", 10.0)
    schedule.finish(schedule.take(10.0).batch, None)
    assert schedule.service_s == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("field", ["max_queue", "max_rows", "max_elements"])
def test_limits_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Limits(**{"max_queue": 1, field: 0})


class Simulation:
    """A server of ``runners`` that take ``service_s`` per row and one row at a time, and clients that come back."""

    def __init__(self, *, max_queue: int, runners: int, service_s: float) -> None:
        self.schedule = make_schedule(max_queue=max_queue, max_rows=1, runners=runners, service_s=service_s)
        self.service_s = service_s
        self.runners = runners
        self.busy: list[tuple[float, tuple[Slot[str], ...]]] = []

    def advance(self, now: float) -> None:
        """Let the runners work until ``now``."""
        while self.busy and min(end for end, _ in self.busy) <= now:
            done = min(self.busy, key=lambda entry: entry[0])
            self.busy.remove(done)
            self.schedule.finish(done[1], self.service_s)
            self._start(done[0])
        self._start(now)

    def _start(self, now: float) -> None:
        while len(self.busy) < self.runners and (batch := self.schedule.take(now).batch):
            self.busy.append((now + self.service_s, batch))

    def arrive(self, now: float) -> float | None:
        """A client at ``now``; the seconds it is told to wait, None when it got in."""
        self.advance(now)
        try:
            submit(self.schedule, "client", now)
        except QueueFull as error:
            return error.retry_after_s
        self.advance(now)
        return None


@pytest.mark.parametrize(
    ("max_queue", "runners", "service_s", "crowd"),
    [(4, 1, 0.02, 12), (64, 2, 0.03, 400), (8, 2, 1.5, 20), (32, 1, 0.004, 300), (1, 1, 0.5, 10)],
)
@pytest.mark.parametrize("whole_seconds", [False, True], ids=["exact", "rounded up"])
def test_retry_after_proves_right(
    max_queue: int, runners: int, service_s: float, crowd: int, whole_seconds: bool
) -> None:
    """Every refused client of a crowd gets in when it comes back after the time it was told."""
    server = Simulation(max_queue=max_queue, runners=runners, service_s=service_s)
    told = [wait for _ in range(crowd) if (wait := server.arrive(0.0)) is not None]
    assert len(told) == crowd - max_queue - runners
    back = sorted(float(-(-wait // 1)) if whole_seconds else wait for wait in told)
    assert back[-1] <= MAX_RETRY_AFTER_S
    assert [server.arrive(now) for now in back] == [None] * len(back)


def test_impatient_clients_do_not_push_the_queue_out_of_reach() -> None:
    server = Simulation(max_queue=4, runners=1, service_s=0.1)
    waits = [server.arrive(0.0) for _ in range(5000)]
    assert max(wait for wait in waits if wait is not None) == MAX_RETRY_AFTER_S
