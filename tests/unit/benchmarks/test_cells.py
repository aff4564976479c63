"""Figures that are published are computed right: hand-worked cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cells import (
    SYSTEMS,
    Cell,
    Interval,
    Sample,
    System,
    Variant,
    joined,
    paired_overhead_ms,
    paired_ratio,
    ratio,
)
from benchmarks.report import write_report


def sample(latencies_ms: list[float], cpu_s: float, wall_s: float = 2.0, failed: int = 0) -> Sample:
    return Sample(latencies_ms=latencies_ms, wall_s=wall_s, cpu_s=cpu_s, failed=failed)


def test_a_sample_counts_per_request() -> None:
    one = sample([10.0, 20.0, 30.0, 40.0], cpu_s=0.1)
    assert one.cpu_ms == pytest.approx(25.0)
    assert one.rate == pytest.approx(2.0)


def test_a_cell_takes_the_median_round_and_all_latencies() -> None:
    cell = Cell("server", "int8", 8, [sample([1.0] * 4, 0.1), sample([2.0] * 4, 0.4), sample([9.0] * 2, 0.1, failed=1)])
    assert cell.cpu_ms == pytest.approx(50.0)
    assert (cell.requests, cell.failed) == (10, 1)
    assert (cell.percentile_ms(50), cell.percentile_ms(99)) == (2.0, 9.0)


def test_ratios_pair_rounds_so_that_a_slow_round_cancels() -> None:
    raw = Cell("raw", "int8", 8, [sample([1.0], 0.100), sample([1.0], 0.300), sample([1.0], 0.100)])
    served = Cell("server", "int8", 8, [sample([1.0], 0.110), sample([1.0], 0.330), sample([1.0], 0.110)])
    assert paired_ratio(served, raw) == pytest.approx(1.1)
    assert paired_overhead_ms(served, raw) == pytest.approx(10.0)


@pytest.mark.parametrize("variants", [("reference", "int8"), ("reference",)])
def test_the_report_has_a_row_for_every_cell(variants: tuple[Variant, ...], tmp_path: Path) -> None:
    cells: dict[tuple[System, Variant, int], Cell] = {
        (system, variant, concurrency): Cell(system, variant, concurrency, [sample([5.0, 7.0], 0.02)])
        for system in SYSTEMS
        for variant in variants
        for concurrency in (1, 8, 32)
    }
    image = tmp_path / "slice.jpg"
    image.write_bytes(b"12345")
    page = tmp_path / "benchmarks.md"
    write_report(page, cells, image=image, rounds=1, seconds=2.0)
    rows = [line for line in page.read_text().splitlines() if line.startswith(("| fp32 |", "| int8 |"))]
    measured = len(cells)
    assert len(rows) == measured + 3 * len(variants)
    assert all("| 10.00 |" in row for row in rows[:measured])
    assert all("| 1.000 | 1.000 | 0.00 | 0.00 |" in row for row in rows[measured:])
    assert "`slice.jpg` (5 bytes)" in page.read_text()


def test_a_ratio_pairs_its_rounds_and_its_interval_holds_all_that_were_alike() -> None:
    alike = ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert [alike.middle, alike.low, alike.high] == pytest.approx([2.0] * 3)
    found = ratio([1.0, 4.0, 1.0, 4.0] * 5, [1.0] * 20)
    assert found.middle == pytest.approx(2.0)
    # The mean of 20 logarithms of 0 or ln 4, each with a deviation of ln 2: 1.96 deviations of it either way.
    assert found.low == pytest.approx(2.0 * 2 ** (-1.96 / 20**0.5), rel=0.07)
    assert found.high == pytest.approx(2.0 * 2 ** (1.96 / 20**0.5), rel=0.07)
    assert str(Interval(0.349, 0.3, 0.4)) == "0.35 (0.30 to 0.40)"


def test_samples_are_joined_with_all_that_they_took() -> None:
    whole = joined([sample([1.0, 3.0], 0.1, failed=1), sample([2.0], 0.2)])
    assert [whole.rate, whole.cpu_ms, whole.failed] == pytest.approx([0.75, 100.0, 1])
    assert whole.percentile_ms(50) == 2.0
