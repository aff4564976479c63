"""``measured.json``: what was measured of a bundle beside its manifest, so that its card can be rendered again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from core.contracts.manifest import Metric
from training.bundle.cost import core, cpu_ms
from training.records import Evaluate, Export, Failure, Record, graph_files

# Of a run, where `trust --out` was told to write it there.
TRUST_FILE: Final = "trust.json"


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
