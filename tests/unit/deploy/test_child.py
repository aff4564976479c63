"""When a service is started again, and when the supervisor gives up."""

from __future__ import annotations

from deploy.child import RESTART_DELAYS_S, STABLE_AFTER_S, Backoff


def test_delays_grow_and_end() -> None:
    backoff = Backoff()
    delays = [backoff.next_delay_s(uptime_s=0.1) for _ in range(len(RESTART_DELAYS_S) + 1)]
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, None]


def test_a_long_good_run_starts_the_count_anew() -> None:
    backoff = Backoff()
    for _ in RESTART_DELAYS_S:
        backoff.next_delay_s(uptime_s=1.0)
    assert backoff.next_delay_s(uptime_s=STABLE_AFTER_S) == RESTART_DELAYS_S[0]
    assert backoff.next_delay_s(uptime_s=STABLE_AFTER_S - 0.1) == RESTART_DELAYS_S[1]
