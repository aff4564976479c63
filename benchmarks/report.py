"""Cells as a page: docs/benchmarks.md."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.cells import SYSTEMS, Cell, System, Variant, paired_overhead_ms, paired_ratio
from core.runtime.cpus import usable_cpus

Cells = Mapping[tuple[System, Variant, int], Cell]
NAMES = {"raw": "raw ONNX Runtime", "server": "model server", "gateway": "through the gateway"}
PRECISIONS = {"reference": "fp32", "int8": "int8"}

TEMPLATE = """# Benchmarks

Written by `make bench` (`python -m benchmarks`); do not edit by hand. Wall time on a shared machine is noisy, so read
the ratios: the three systems take turns in every round, and a ratio is the median over rounds of neighbours in time.

- Machine: {machine}
- Software: Python {python}, ONNX Runtime {onnxruntime}, {date}
- Input: `{image}` ({size} bytes); {rounds} rounds of {seconds:g} s a cell
- *raw ONNX Runtime*: decode, preprocess and run in up to {cpus} threads of one process, no HTTP. *model server*: one
  classifier process. *through the gateway*: gateway and classifier, CPU of both. The load generator shares the cores,
  so images/s of the served rows pays for it; CPU per request does not.
- fp32: fp16 weights, float32 arithmetic (`model.onnx`). int8: `model.int8.onnx`.

{table}

## What Falx adds

CPU per request relative to raw ONNX Runtime, and what each step adds in CPU milliseconds a request.

{ratios}
"""


def machine() -> str:
    """Processor, cores and memory, without any name of the host."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), model
        )
    memory_gib = psutil.virtual_memory().total / 2**30
    return f"{model}, {usable_cpus()} usable cores, {memory_gib:.0f} GiB, {platform.system()}"


def table(cells: Cells) -> str:
    """One row a cell."""
    rows = [
        "| precision | concurrency | system | images/s | CPU ms | p50 ms | p95 ms | p99 ms | requests | failed |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (system, variant, concurrency), cell in sorted(
        cells.items(), key=lambda item: (item[0][1] == "int8", item[0][2], SYSTEMS.index(item[0][0]))
    ):
        rows.append(
            f"| {PRECISIONS[variant]} | {concurrency} | {NAMES[system]} | {cell.rate:.1f} | {cell.cpu_ms:.2f} | "
            f"{cell.percentile_ms(50):.1f} | {cell.percentile_ms(95):.1f} | {cell.percentile_ms(99):.1f} | "
            f"{cell.requests} | {cell.failed} |"
        )
    return "\n".join(rows)


def ratios(cells: Cells) -> str:
    """Overheads, paired round by round."""
    rows = [
        "| precision | concurrency | server / raw | gateway / raw | server adds, ms | gateway adds, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for variant in dict.fromkeys(key[1] for key in cells):
        for concurrency in sorted({key[2] for key in cells}):
            raw, server, gateway = (cells[system, variant, concurrency] for system in SYSTEMS)
            rows.append(
                f"| {PRECISIONS[variant]} | {concurrency} | {paired_ratio(server, raw):.3f} | "
                f"{paired_ratio(gateway, raw):.3f} | {paired_overhead_ms(server, raw):.2f} | "
                f"{paired_overhead_ms(gateway, server):.2f} |"
            )
    return "\n".join(rows)


def write_report(path: Path, cells: Cells, *, image: Path, rounds: int, seconds: float) -> None:
    """Writes the page."""
    text = TEMPLATE.format(
        machine=machine(),
        python=platform.python_version(),
        onnxruntime=version("onnxruntime"),
        date=datetime.now(UTC).date().isoformat(),
        image=image.name,
        size=image.stat().st_size,
        rounds=rounds,
        seconds=seconds,
        cpus=usable_cpus(),
        table=table(cells),
        ratios=ratios(cells),
    )
    path.write_text(text)
