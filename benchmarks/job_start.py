"""``python -m benchmarks.job_start --against CHECKOUT``: what the imports of a job's process cost, here and elsewhere.

CPU seconds, user and system, of a Python that imports what the process of a job imports before it reads its inputs.
Both sides are measured in turn, with compiled bytecode, so that a busy machine slows them alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from segmenter_service.volumes.worker import HANDLER

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A working copy with its own ``.venv``; ``handler`` is the module that its worker hands to a job's process."""

    folder: Path
    handler: str

    def cpu_s(self, environment: Mapping[str, str]) -> float:
        """CPU seconds of one process that imports everything and ends."""
        before = os.times()
        code = f"import core.jobs.child, {self.handler}"
        subprocess.run([self.folder / ".venv/bin/python", "-c", code], cwd=self.folder, env=environment, check=True)
        after = os.times()
        user = after.children_user - before.children_user
        return user + after.children_system - before.children_system


def measure(sides: list[Checkout], rounds: int) -> list[list[float]]:
    """CPU seconds of each side in each of ``rounds``; the first run, which compiles, is not counted."""
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for side in sides:
            side.cpu_s(environment)
        measured = [[side.cpu_s(environment) for side in sides] for _ in range(rounds)]
    return [list(times) for times in zip(*measured, strict=True)]


def main(
    against: Annotated[Path, typer.Option(help="Another checkout, installed with make.")],
    handler: Annotated[str, typer.Option(help="Its module of jobs.")] = HANDLER.partition(":")[0],
    rounds: int = 20,
) -> None:
    """Prints median and least CPU seconds of both sides and their ratio."""
    here, there = Checkout(ROOT, HANDLER.partition(":")[0]), Checkout(against.absolute(), handler)
    own, others = measure([here, there], rounds)
    for name, times in (("here", own), ("there", others)):
        typer.echo(f"{name:6} median {statistics.median(times):.3f} s, least {min(times):.3f} s")
    medians, least = statistics.median(own) / statistics.median(others), min(own) / min(others)
    typer.echo(f"ratio  median {medians:.2f}, least {least:.2f}")


if __name__ == "__main__":
    typer.run(main)
