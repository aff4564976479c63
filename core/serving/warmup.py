"""Warm-up: run every batch size once before being ready, and measure which one is worth waiting for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Larger batches are tried as long as each gains this much on the best before it ...
GAIN_TO_GO_ON = 1.01
# ... and the smallest is taken that comes this close to the best of all: the rest would only add latency.
CLOSE_ENOUGH = 1.05
REPEATS = 3


@dataclass(frozen=True, slots=True)
class WarmUp:
    """``max_rows`` per batch, the sizes up to it that were run (ascending), and seconds per row at ``max_rows``."""

    max_rows: int
    sizes: tuple[int, ...]
    service_s: float


def warm_up(
    forward: Callable[[Array], object],
    row: Array,
    sizes: Sequence[int],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Run copies of ``row`` at the ascending batch ``sizes`` until one gains no more; the smallest close to the best.

    Judged by the whole gain and not step by step: four steps of 4 % each are worth it, though none of them looks so.
    The first run of each size pays for allocations and kernel choice and is not timed; of the others the
    fastest counts, as anything else on the machine only ever adds time.
    """
    tried: dict[int, float] = {}
    for size in sizes:
        best = min(tried.values(), default=float("inf"))
        tried[size] = _seconds_per_row(forward, row, size, clock)
        if tried[size] * GAIN_TO_GO_ON > best:
            break
    best = min(tried.values())
    chosen = next(size for size, seconds in tried.items() if seconds <= best * CLOSE_ENOUGH)
    return WarmUp(chosen, tuple(size for size in tried if size <= chosen), tried[chosen])


def run_sizes(
    forward: Callable[[Array], object],
    row: Array,
    sizes: Sequence[int],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Warm up at all of ``sizes``, whatever they gain: the operator has chosen the largest one."""
    seconds = [_seconds_per_row(forward, row, size, clock) for size in sizes]
    return WarmUp(sizes[-1], tuple(sizes), seconds[-1])


def powers_of_two(limit: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to ``limit``, which is the last whether or not it is a power of two."""
    powers = [1 << exponent for exponent in range(limit.bit_length()) if 1 << exponent < limit]
    return (*powers, limit)


def _seconds_per_row(forward: Callable[[Array], object], row: Array, size: int, clock: Callable[[], float]) -> float:
    batch = np.repeat(row[np.newaxis], size, axis=0)
    forward(batch)
    times: list[float] = []
    for _ in range(REPEATS):
        started = clock()
        forward(batch)
        times.append(clock() - started)
    return min(times) / size
