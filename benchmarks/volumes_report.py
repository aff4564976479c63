"""Volumes measured, as a page: docs/benchmarks-volumes.md."""

from __future__ import annotations

import platform
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.report import machine
from benchmarks.volumes_case import Network
from benchmarks.volumes_compare import BATCHES, Comparison, Parity, Run
from benchmarks.volumes_job import JobTimes
from core.runtime.cpus import usable_cpus
from segmenter_service.volumes.stages import STAGES

TARGET_RATIO: Final = 2.0
LIMIT_S: Final = 20.0
LIMIT_MIB: Final = 3 * 1024.0
_QUEUES: Final = (1, 4, 16, 64)
_WIDTH: Final = 120

TEMPLATE: Final = """# Benchmarks of volumes

Written by `python -m benchmarks.volumes`; do not edit by hand. Wall time on a shared machine is noisy, so read the
ratios: both ways take turns in every round, and a ratio is the median over rounds of neighbours in time.

- Machine: {machine}
- Software: Python {python}, ONNX Runtime {onnxruntime}, torch {torch}, MONAI {monai}, {date}
- Input: a synthetic skull-stripped head, {shape} voxels of 1 mm in four sequences, int16, NIfTI compressed
- Windows of {window} voxels that overlap by half; {rounds} rounds after one that is not counted; {threads} threads on
  either side
- Network: `{architecture}`, {weights}; float32 arithmetic on either side, but where int8 is named

## Sliding windows

*Falx*: what a job runs, `core.runtime.sliding` around ONNX Runtime. *MONAI*: `sliding_window_inference` with Gaussian
weights around the same network and weights in torch, in inference mode; it runs as many windows at a time as took it
less time in the uncounted round, {batches}. Falx's graph of a network that reads slices takes columns of windows, reads
each slice once for all of them, and convolves nothing but slices: the same function of every window. Both start from
the prepared volume and end with probabilities on its voxels. The first spacing, to the right, anterior and superior, is
the network's own; the others show what grows with the volume.

{windows}

{verdict}

### The same answer

Largest and mean difference of the probabilities over all regions and voxels, and the share of voxels that come to lie
on different sides of one half. *Same windows*: a volume on which both lay the same windows, with the same weights, so
that only the arithmetic of the two runtimes is left. At the spacings: both as they are, where MONAI moves the last
window of an axis inwards while Falx spreads all of them evenly or lets a column reach out at both ends, and the two
cut the Gaussian off at different values; the network sees other surroundings of a voxel, so the answers differ where it
is unsure.

{parity}

## Whole jobs

One job at each spacing in a process of its own, as a worker starts it, from the store to results in the store. *start*:
Python, imports and the end of the process. Limits for this case at the network's spacing: {limit_s:g} s and
{limit_mib:g} MiB of resident memory (the kernel's own peak). *found*: the whole tumour that the network draws on this
head, which is like none that it was trained on; it stands here as what is found has to be measured. Seconds:

{jobs}

{limits}

## Waiting in the queue

Computed from the first row above, not measured: a worker does one job at a time, so the last of n equal jobs that
arrive together waits for ceil(n / workers) - 1 others. Workers with cores of their own; two that share the cores of one
machine finish no more jobs than one. Seconds until the last job begins:

{queue}
"""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything on the page; comparisons and jobs are in the order of the spacings."""

    comparisons: Sequence[Comparison]
    parity: Parity
    jobs: Sequence[JobTimes]
    versions: Mapping[str, str]
    shape: tuple[int, int, int]
    network: Network
    trained: bool


def windows_table(comparisons: Sequence[Comparison]) -> str:
    """One row a spacing: medians over the rounds."""
    rows = [
        "| spacing mm | working voxels | windows | Falx s | of it network | Falx int8 s | MONAI s | of it network | "
        "its batch | MONAI / Falx | MONAI / Falx int8 | Falx ms a window |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in comparisons:
        falx, monai = _median(one.falx), _median(one.monai)
        rows.append(
            f"| {_by(one.spacing_mm)} | {_by(one.shape)} | {one.windows} | {falx.seconds:.2f} | {falx.network_s:.2f} | "
            f"{_or_none(_median(one.int8).seconds if one.int8 else None)} | "
            f"{monai.seconds:.2f} | {monai.network_s:.2f} | {one.monai_batch} | {one.ratio:.2f} | "
            f"{_or_none(one.int8_ratio)} | {falx.seconds / one.windows * 1e3:.0f} |"
        )
    return "\n".join(rows)


def verdict(comparisons: Sequence[Comparison]) -> str:
    """Whether the target is met, and what there is to gain beside the network."""
    runs = [_median(one.falx) for one in comparisons]
    share = min(run.network_s / run.seconds for run in runs)
    return textwrap.fill(
        f"The target, {TARGET_RATIO:g} times as fast as MONAI, is {_met([one.ratio for one in comparisons])} in float32"
        f"{_int8_verdict(comparisons)}. Both answer for as many windows with the same network, and at least "
        f"{share:.0%} of Falx's time is the network's: the ratio is that of graphs and kernels, and what cutting and "
        "blending could still gain is the rest.",
        _WIDTH,
    )


def _int8_verdict(comparisons: Sequence[Comparison]) -> str:
    """What int8, a worker's default on a CPU where the bundle has it, makes of it."""
    ratios = [one.int8_ratio for one in comparisons if one.int8_ratio is not None]
    return f" and {_met(ratios)} in int8, which a worker on a CPU runs by default" if ratios else ""


def _met(ratios: Sequence[float]) -> str:
    verdict = "met at every spacing" if min(ratios) >= TARGET_RATIO else "missed"
    return f"{verdict} (least ratio {min(ratios):.2f})"


def parity_table(results: Results) -> str:
    """The same windows first, then each spacing as it is."""
    named = [("same windows", results.parity)]
    named += [(f"{_by(one.spacing_mm)} mm", one.parity) for one in results.comparisons]
    rows = ["| | largest | mean | decided otherwise |", "|---|---:|---:|---:|"]
    rows += [f"| {name} | {p.largest:.1e} | {p.mean:.1e} | {p.decided_otherwise:.3%} |" for name, p in named]
    return "\n".join(rows)


def jobs_table(results: Results) -> str:
    """One row a spacing, one column a stage."""
    rows = [
        f"| spacing mm | whole | start | {' | '.join(STAGES)} | peak MiB | found ml |",
        "|---" + "|---:" * (len(STAGES) + 4) + "|",
    ]
    for one, job in zip(results.comparisons, results.jobs, strict=True):
        stages = " | ".join(f"{job.stages_s[name]:.2f}" for name in STAGES)
        found = job.found_ml["whole_tumor"]
        rows.append(
            f"| {_by(one.spacing_mm)} | {job.wall_s:.1f} | {job.process_s:.2f} | {stages} | {job.peak_mib:.0f} | "
            f"{found:.1f} |"
        )
    return "\n".join(rows)


def limits(job: JobTimes) -> str:
    """Whether the first job kept within its limits."""
    in_time = "within" if job.wall_s <= LIMIT_S else "above"
    in_memory = "within" if job.peak_mib <= LIMIT_MIB else "above"
    return f"At the first spacing a job is {in_time} its limit of time and {in_memory} that of memory."


def waiting_s(jobs: int, workers: int, job_s: float) -> float:
    """Seconds that the last of ``jobs`` equal jobs waits that arrive together."""
    return (-(-jobs // workers) - 1) * job_s


def queue_table(job_s: float) -> str:
    """One row a length of the queue."""
    rows = ["| jobs | 1 worker | 2 workers |", "|---:|---:|---:|"]
    rows += [f"| {n} | {waiting_s(n, 1, job_s):.0f} | {waiting_s(n, 2, job_s):.0f} |" for n in _QUEUES]
    return "\n".join(rows)


def write_report(path: Path, results: Results) -> None:
    """Writes the page."""
    text = TEMPLATE.format(
        machine=machine(),
        python=platform.python_version(),
        onnxruntime=version("onnxruntime"),
        torch=results.versions["torch"],
        monai=results.versions["monai"],
        date=datetime.now(UTC).date().isoformat(),
        shape=_by(results.shape),
        window=_by(results.network.preprocessing.window),
        architecture=results.network.architecture,
        batches=" or ".join(str(batch) for batch in BATCHES),
        rounds=len(results.comparisons[0].falx),
        threads=usable_cpus(),
        weights="trained weights" if results.trained else "random weights: what jobs find means nothing",
        windows=windows_table(results.comparisons),
        verdict=verdict(results.comparisons),
        parity=parity_table(results),
        limit_s=LIMIT_S,
        limit_mib=LIMIT_MIB,
        jobs=jobs_table(results),
        limits=limits(results.jobs[0]),
        queue=queue_table(results.jobs[0].wall_s),
    )
    path.write_text(text)


def _or_none(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _by(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)


def _median(runs: Sequence[Run]) -> Run:
    """Of either number for itself."""
    return Run(statistics.median(run.seconds for run in runs), statistics.median(run.network_s for run in runs))
