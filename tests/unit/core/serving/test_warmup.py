"""How large a batch is worth it is measured, here with networks whose time is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from core.serving.warmup import REPEATS, powers_of_two, run_sizes, warm_up

ROW = np.zeros((1, 2), np.float32)


class Machine:
    """A network and its clock: a batch of n takes ``fixed_s + n * row_s``, its first run ten times as long."""

    def __init__(self, fixed_s: float, row_s: float) -> None:
        self.fixed_s, self.row_s = fixed_s, row_s
        self.now = 0.0
        self.sizes: list[int] = []

    def forward(self, rows: npt.NDArray[Any]) -> None:
        assert rows.shape[1:] == ROW.shape
        first = len(rows) not in self.sizes
        self.sizes.append(len(rows))
        self.now += (self.fixed_s + len(rows) * self.row_s) * (10 if first else 1)

    def clock(self) -> float:
        return self.now


SIZES = (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("fixed_s", "row_s", "best"),
    [
        (0.0, 0.08, 1),  # a CPU core: no gain at all
        (0.003, 0.08, 1),  # 2 % of gain are not worth the latency
        (0.01, 0.02, 8),  # per row 30, 25, 22.5, 21.25 and 20.6 ms: the last step gains 3 %
        (0.0012, 0.0071, 4),  # int8 on a CPU core: 8.3, 7.7, 7.4 and 7.25 ms; no step gains 8 %, both together 11 %
        (0.02, 0.001, 32),  # a GPU: the larger the better
    ],
)
def test_largest_batch_that_still_gains(fixed_s: float, row_s: float, best: int) -> None:
    machine = Machine(fixed_s, row_s)
    result = warm_up(machine.forward, ROW, SIZES, clock=machine.clock)
    assert result.max_rows == best
    assert result.sizes == tuple(size for size in SIZES if size <= best)
    assert result.service_s == pytest.approx(fixed_s / best + row_s)


def test_slow_first_runs_do_not_count_and_nothing_larger_is_run_than_needed() -> None:
    machine = Machine(0.0, 0.08)
    warm_up(machine.forward, ROW, SIZES, clock=machine.clock)
    assert machine.sizes == [1] * (REPEATS + 1) + [2] * (REPEATS + 1)


def test_chosen_sizes_are_all_run_whatever_they_gain() -> None:
    machine = Machine(0.0, 0.08)
    result = run_sizes(machine.forward, ROW, powers_of_two(6), clock=machine.clock)
    assert (result.max_rows, result.sizes) == (6, (1, 2, 4, 6))
    assert set(machine.sizes) == {1, 2, 4, 6}
    assert result.service_s == pytest.approx(0.08)


@pytest.mark.parametrize(("limit", "sizes"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8))])
def test_powers_of_two(limit: int, sizes: tuple[int, ...]) -> None:
    assert powers_of_two(limit) == sizes
