"""What a file of a bundle costs: CPU time of one run on one core."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from core.runtime.session import OrtSession

# The first run of each is not counted: it lays out the memory.
RUNS: Final = 5
# What decides how fast a network runs on an x86 core, by the flags that Linux tells.
_INSTRUCTIONS: Final[Mapping[str, str]] = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "amx_int8": "AMX",
}


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
