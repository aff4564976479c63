"""``measured.json``: what was measured of a bundle beside its manifest, so that its card can be rendered again.

Part of it is what its files cost: CPU time of one run on one core.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from core.contracts.manifest import Metric
from core.runtime.session import OrtSession
from training.records import Evaluate, Export, Failure, Record, graph_files

# Of a run, where `trust --out` was told to write it there.
TRUST_FILE: Final = "trust.json"
# The first run of each is not counted: it lays out the memory.
RUNS: Final = 5
# What decides how fast a network runs on an x86 core, by the flags that Linux tells.
_INSTRUCTIONS: Final[Mapping[str, str]] = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "amx_int8": "AMX",
}


class Measured(Record):
    """Lies beside the manifest, which has the figures of the reference and everything that services read."""

    # Name in ``training/recipes``, or path of another recipe; None: made without one.
    recipe: str | None
    # Made as the like of a bundle that cannot be remade.
    equal: bool = False
    # How the weights came about, as far as the run says it.
    preset: str
    multitask: bool = False
    images_seen: int
    # Validation figure by candidate size, and how far the graph is from torch (``training.records.Export``).
    sizes: dict[str, float]
    parity: float
    rounding: float
    # Milliseconds of one run by file name, and the kind of core they were measured on.
    cpu_ms: dict[str, float]
    core: str
    # The split of the manifest's figures, those of int8 in the same order, and the worst answers.
    split: str | None = None
    int8: tuple[float | None, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    failures: tuple[Failure, ...] = ()
    # Measured apart: ``trust``, ``audit``, other candidates.
    further: tuple[Metric, ...] = ()

    @classmethod
    def of_run(cls, run: Path, export: Export, recipe: str | None, *, equal: bool = False) -> Measured:
        """What an exported run says, and what its files cost on this machine."""
        trust = run / TRUST_FILE
        sides = export.volume.window if export.volume is not None else (export.size, export.size)
        return cls(
            recipe=recipe,
            equal=equal,
            **export.model_dump(include={"preset", "multitask", "images_seen", "sizes", "parity", "rounding"}),
            cpu_ms=cpu_ms(list(graph_files(run).values()), sides),
            core=core(),
            further=json.loads(trust.read_text())["metrics"] if trust.exists() else (),
        )

    def scored(self, evaluated: Evaluate | None) -> Measured:
        """The same with the figures of an evaluation."""
        if evaluated is None:
            return self
        int8 = {(metric.name, metric.data_set): metric.value for metric in evaluated.int8}
        values = tuple(int8.get((metric.name, metric.data_set)) for metric in evaluated.reference) if int8 else ()
        same = {name: getattr(evaluated, name) for name in ("split", "confusion", "failures")}
        return self.model_copy(update={"int8": values} | same)


def cpu_ms(files: Sequence[Path], sides: Sequence[int]) -> dict[str, float]:
    """Median CPU milliseconds of one run of each file, by its name, on one input with these sides.

    The files take turns, so that a machine whose speed wavers does so for all of them. Every channel is shown. It is
    the session that the services run, on one thread.
    """
    sessions = [OrtSession(file, force_cpu=True) for file in files]
    generator = np.random.default_rng(0)
    spent: dict[str, list[float]] = {file.name: [] for file in files}
    for _ in range(RUNS + 1):
        for file, session in zip(files, sessions, strict=True):
            (given,) = session.inputs
            image = generator.random((1, given.shape[1] or 1, *sides), np.float32)
            before = time.process_time()
            session.run({given.name: image})
            spent[file.name].append(1e3 * (time.process_time() - before))
    return {name: float(np.median(values[1:])) for name, values in spent.items()}


def core() -> str:
    """The kind of core, without any name of the host."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    known = [name for flag, name in _INSTRUCTIONS.items() if flag in flags]
    return f"{platform.machine()} with {', '.join(known)}" if known else platform.machine()
