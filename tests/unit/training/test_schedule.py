"""Phases and learning rate follow progress."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import ClassifierConfig, Phase, ScheduleConfig, SegmenterConfig
from training.loop.schedule import learning_rate_at, phase_at, progress_at

SCHEDULE = ScheduleConfig(phases=(Phase(64, 4000), Phase(128, 1000)))


def test_progress_counts_work_and_not_images() -> None:
    # 4000 images of 64 x 64 cost as much as 1000 of 128 x 128.
    assert progress_at(SCHEDULE, 4000, 0) == pytest.approx(0.5)
    assert progress_at(SCHEDULE, 4500, 0) == pytest.approx(0.75)
    assert progress_at(SCHEDULE, 9999, 0) == 1.0


@given(st.lists(st.integers(0, 6000), min_size=2, max_size=20))
def test_progress_never_falls(images: list[int]) -> None:
    values = [progress_at(SCHEDULE, seen, 0) for seen in sorted(images)]
    assert values == sorted(values)


def test_phases_come_in_order_and_the_last_one_stays() -> None:
    assert [phase_at(SCHEDULE, p).size for p in (0.0, 0.49, 0.51, 0.99, 1.0)] == [64, 64, 128, 128, 128]


def test_a_time_limit_squeezes_the_schedule() -> None:
    limited = dataclasses.replace(SCHEDULE, time_limit_min=10)
    assert progress_at(limited, 0, 300) == pytest.approx(0.5)
    assert progress_at(limited, 4500, 300) == pytest.approx(0.75)
    assert progress_at(limited, 0, 600) == 1.0
    assert progress_at(SCHEDULE, 0, 1e9) == 0.0


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [learning_rate_at(SCHEDULE, step / 200) for step in range(201)]
    top = rates.index(max(rates))
    assert top == pytest.approx(200 * SCHEDULE.warm_up, abs=1)
    assert rates[top] == pytest.approx(SCHEDULE.learning_rate)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(SCHEDULE.learning_rate / 1000)


@pytest.mark.parametrize("config", [ClassifierConfig(), SegmenterConfig()])
def test_shipped_schedules_grow_and_fit_the_networks(config: ClassifierConfig | SegmenterConfig) -> None:
    sizes = [phase.size for phase in config.schedule.phases]
    assert sizes == sorted(sizes)
    assert all(size % 16 == 0 for size in sizes)
