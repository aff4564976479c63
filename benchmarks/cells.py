"""What one measurement is, and how samples of one cell are joined."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

System = Literal["raw", "server", "gateway"]
Variant = Literal["reference", "int8"]
SYSTEMS: tuple[System, ...] = ("raw", "server", "gateway")
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: every latency in ms, wall and CPU seconds of the processes under test, failed requests."""

    latencies_ms: list[float]
    wall_s: float
    cpu_s: float
    failed: int

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per request."""
        return self.cpu_s * 1e3 / len(self.latencies_ms)

    @property
    def rate(self) -> float:
        """Images per second."""
        return len(self.latencies_ms) / self.wall_s

    def percentile_ms(self, percent: int) -> float:
        """Latency percentile in ms."""
        latencies = sorted(self.latencies_ms)
        return latencies[min(len(latencies) - 1, len(latencies) * percent // 100)]


def joined(samples: Sequence[Sample]) -> Sample:
    """All requests of several rounds as one sample."""
    return Sample(
        [latency for sample in samples for latency in sample.latencies_ms],
        sum(sample.wall_s for sample in samples),
        sum(sample.cpu_s for sample in samples),
        sum(sample.failed for sample in samples),
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """All rounds of one system, variant and concurrency."""

    system: System
    variant: Variant
    concurrency: int
    samples: Sequence[Sample]

    @property
    def requests(self) -> int:
        """Requests over all rounds."""
        return sum(len(sample.latencies_ms) for sample in self.samples)

    @property
    def failed(self) -> int:
        """Requests that were not answered with 200."""
        return sum(sample.failed for sample in self.samples)

    @property
    def rate(self) -> float:
        """Median over the rounds, images per second."""
        return statistics.median(sample.rate for sample in self.samples)

    @property
    def cpu_ms(self) -> float:
        """Median over the rounds, CPU milliseconds per request."""
        return statistics.median(sample.cpu_ms for sample in self.samples)

    def percentile_ms(self, percent: int) -> float:
        """Latency percentile over all requests of all rounds, in ms."""
        return joined(self.samples).percentile_ms(percent)


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio and the bounds between which it lies with 95 % certainty."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Geometric mean of what ``ours`` is of ``theirs`` over paired rounds, with bootstrap percentiles as bounds."""
    logarithms = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    draw = random.Random(0)  # noqa: S311  the same bounds for the same rounds
    means = sorted(statistics.fmean(draw.choices(logarithms, k=len(logarithms))) for _ in range(_RESAMPLES))
    middle, low, high = statistics.fmean(logarithms), means[_RESAMPLES // 40], means[-1 - _RESAMPLES // 40]
    return Interval(math.exp(middle), math.exp(low), math.exp(high))


def paired_ratio(cell: Cell, ceiling: Cell) -> float:
    """Median over rounds of CPU per request relative to ``ceiling``: rounds are paired, so drift cancels."""
    return statistics.median(a.cpu_ms / b.cpu_ms for a, b in zip(cell.samples, ceiling.samples, strict=True))


def paired_overhead_ms(cell: Cell, below: Cell) -> float:
    """Median over rounds of the CPU milliseconds a request that ``cell`` adds to ``below``."""
    return statistics.median(a.cpu_ms - b.cpu_ms for a, b in zip(cell.samples, below.samples, strict=True))
