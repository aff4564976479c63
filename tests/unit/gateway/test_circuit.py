"""When a model server is not asked any more, and when it is again."""

from __future__ import annotations

import circuitbreaker
import pytest

from core.errors import ModelUnavailable
from gateway.circuit import Circuit

GONE = ModelUnavailable("gone")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(circuitbreaker, "monotonic", clock)
    return clock


@pytest.fixture
def changes() -> list[bool]:
    return []


@pytest.fixture
def circuit(clock: Clock, changes: list[bool]) -> Circuit:
    return Circuit("classifier", failures=3, reset_s=10, on_change=changes.append)


def open_it(circuit: Circuit) -> None:
    for _ in range(3):
        circuit.admit().failed(GONE)


def test_stays_closed_below_the_threshold(circuit: Circuit) -> None:
    for _ in range(5):
        circuit.admit().failed(GONE)
        circuit.admit().failed(GONE)
        circuit.admit().succeeded()
    assert circuit.is_closed


def test_opens_and_says_for_how_long(circuit: Circuit, clock: Clock, changes: list[bool]) -> None:
    open_it(circuit)
    assert changes[0] is False
    assert changes[-1] is True
    clock.now_s += 3.5
    with pytest.raises(ModelUnavailable) as refusal:
        circuit.admit()
    assert refusal.value.retry_after_s == 7
    assert "classifier" in refusal.value.detail


def test_lets_one_probe_through(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    clock.now_s += 10
    probe = circuit.admit()
    with pytest.raises(ModelUnavailable) as refusal:
        circuit.admit()
    assert refusal.value.retry_after_s == 1
    probe.failed(GONE)
    with pytest.raises(ModelUnavailable) as again:
        circuit.admit()
    assert again.value.retry_after_s == 10, "a failed probe starts the wait anew"


def test_a_successful_probe_closes_it(circuit: Circuit, clock: Clock, changes: list[bool]) -> None:
    open_it(circuit)
    clock.now_s += 10
    circuit.admit().succeeded()
    assert circuit.is_closed
    assert changes[-1] is False
    circuit.admit().failed(GONE)
    assert circuit.is_closed, "the count begins anew"


def test_an_abandoned_probe_makes_room_for_another(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    clock.now_s += 10
    circuit.admit().abandoned()
    circuit.admit().succeeded()
    assert circuit.is_closed


def test_late_news_of_an_older_request_leaves_the_probe_alone(circuit: Circuit, clock: Clock) -> None:
    older = circuit.admit()
    open_it(circuit)
    clock.now_s += 10
    circuit.admit()
    older.abandoned()
    with pytest.raises(ModelUnavailable):
        circuit.admit()
