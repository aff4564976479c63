"""From a recipe to bundles: every step once, in order, each where the last call left it.

A step lies in ``RUNS/NAME/STEP``. A small record beside what it made says from which settings and which files, so that
a second call does what is left, and never mixes what two versions of a recipe made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, assert_never

from rich.console import Console

from training.bundle.bundle import Made, bundle_run
from training.bundle.combine import combine, second_reader
from training.bundle.export import export_run
from training.bundle.quantize import NothingToGainError, quantise_run
from training.classification.label_sets import LabelSets, calibrate_label_sets
from training.evaluation.evaluate import evaluate_run
from training.loop.checkpoints import average
from training.loop.running import Origins, run_training
from training.loop.trainer import CHECKPOINT
from training.networks.starts import check_photographs
from training.recipe import Average, Combine, Gate, Recipe, Second, Step, Train, read_recipe
from training.records import INT8_FILE, REFERENCE_FILE, Evaluate, Export, Part, Quantize, graph_files, sha256_of

_VAL: Final = "val"
_TEST: Final = "test"


class ChangedError(ValueError):
    """What lies in a run folder was made from other settings or files than the recipe asks for now."""


class GateError(ValueError):
    """A figure on validation is not what the recipe asks for."""


class Done(Part):
    """``NAME.done.json``: what a piece of work was begun with, and whether it ended."""

    settings: dict[str, Any]
    # sha256 of the files that it read.
    read: dict[str, str]
    done: bool = False


@dataclass(frozen=True)
class Kitchen:
    """Where a recipe is run, and on what."""

    data: Path
    runs: Path
    out: Path
    device: str = "cpu"
    # Begin anew what was made from other settings, instead of refusing.
    redo: bool = False
    # File of the network of photographs, for recipes that begin with it.
    photographs: Path | None = None
    console: Console = dataclasses.field(default_factory=Console)


def make(name: str, kitchen: Kitchen, *, test: bool = False, equal: bool = False) -> tuple[Path, ...]:
    """Run the recipe of that name or path to its bundles; their folders.

    With ``test`` the figures are those of the split ``test``, which is looked at once, else of ``val``. ``equal`` makes
    the like of a bundle that cannot be remade.

    Raises FileNotFoundError and ValueError for a recipe that is missing, wrong, or not remakeable and no ``equal`` is
    asked for, and where it begins with a network of photographs that is not given; ChangedError; GateError.
    """
    recipe = read_recipe(name)
    if not recipe.bundle.remakeable and not equal:
        raise ValueError(f"{recipe.bundle.name} cannot be remade: {recipe.bundle.reason} `--equal` makes its like.")
    work = Work(recipe, kitchen)
    for step in recipe.steps:
        work.step(step)
    run = work.folder(recipe.steps[-1].name)
    work.export(run)
    work.quantise(run)
    work.evaluate(run, _VAL)
    for gate in recipe.gates:
        check_gate(gate, run / _VAL)
    if test:
        work.evaluate(run, _TEST)
    figures = run / (_TEST if test else _VAL)
    made = Made(recipe, name, version=recipe.bundle.version, equal=not recipe.bundle.remakeable)
    return bundle_run(run, kitchen.out, made, figures=figures)


def check_gate(gate: Gate, figures: Path) -> None:
    """Raise GateError where the figure of an evaluation is beyond the gate, or was not measured."""
    folder = figures / gate.bundle
    metrics = Evaluate.read(folder).reference if Evaluate.path(folder).exists() else ()
    found = next((m.value for m in metrics if (m.name, m.data_set) == (gate.figure, gate.data_set)), None)
    what = f"{gate.figure} ({gate.data_set}) on {figures.name}"
    if found is None:
        raise GateError(f"{what} was not measured, and the recipe asks for it")
    if gate.at_least is not None and not found >= gate.at_least:
        raise GateError(f"{what} is {found:.4f}, the recipe asks for {gate.at_least} at least")
    if gate.at_most is not None and not found <= gate.at_most:
        raise GateError(f"{what} is {found:.4f}, the recipe allows {gate.at_most} at most")


@dataclass(frozen=True)
class Work:
    """A recipe at work: every piece once, in the folder of its step."""

    recipe: Recipe
    kitchen: Kitchen

    def __post_init__(self) -> None:
        """Raise ValueError where a step begins with the network of photographs, and that is not given."""
        if any(isinstance(step, Train) and step.photographs for step in self.recipe.steps):
            check_photographs(self.kitchen.photographs)

    def folder(self, step: str) -> Path:
        """Where a step lies."""
        return self.kitchen.runs / self.recipe.bundle.name / step

    def step(self, step: Step) -> None:
        """Make the checkpoint of a step."""
        run = self.folder(step.name)
        settings = step.model_dump(exclude={"name"})
        if isinstance(step, Train):
            # All of it: another default is another training too.
            settings["config"] = dataclasses.asdict(step.configuration())
        read = {name: self.folder(name) / CHECKPOINT for name in step.inputs}
        self.once(run, "step", settings, read, (CHECKPOINT,), lambda: self._make(step, run))

    def _make(self, step: Step, run: Path) -> None:
        match step:
            case Train():
                kitchen = self.kitchen
                start, encoder = (self.folder(name) if name else None for name in (step.start, step.encoder))
                start = kitchen.photographs if step.photographs else start
                origins = Origins(start, encoder, [self.folder(name) for name in step.teachers])
                run_training(step.configuration(), kitchen.data, run, kitchen.device, origins, kitchen.console)
            case Average():
                average([self.folder(name) for name in step.of], run)
            case Combine():
                combine([self.folder(name) for name in step.members], run, step.shares, step.size)
            case Second():
                second_reader(self.folder(step.first), self.folder(step.second), run)
            case _:
                assert_never(step)

    def export(self, run: Path) -> None:
        """The graph, and each label set of the recipe fitted on it."""
        recipe = self.recipe

        def work() -> None:
            export = export_run(run, self.kitchen.data, recipe.export.sizes or None)
            if recipe.label_sets or LabelSets.path(run).exists():
                calibrate_label_sets(run, self.kitchen.data, recipe.label_sets or {recipe.bundle.name: export.labels})

        settings = {"sizes": list(recipe.export.sizes), "label_sets": recipe.label_sets}
        made = (REFERENCE_FILE, Export.path(run).name, LabelSets.path(run).name)
        self.once(run, "export", settings, {CHECKPOINT: run / CHECKPOINT}, made, work)

    def quantise(self, run: Path) -> None:
        """The int8 graph, where the recipe wants one and it gains anything."""

        def work() -> None:
            try:
                if self.recipe.quantize.int8:
                    quantise_run(run, self.kitchen.data)
            except NothingToGainError as error:
                self.kitchen.console.print(str(error), markup=False)

        settings = self.recipe.quantize.model_dump()
        made = (INT8_FILE, Quantize.path(run).name)
        self.once(run, "quantize", settings, self._exported(run), made, work)

    def evaluate(self, run: Path, split: str) -> None:
        """Figures of the graphs on a split, in a folder of its name."""
        out = run / split
        read = self._exported(run) | {path.name: path for path in graph_files(run).values()}
        self.once(out, "evaluate", {}, read, (), lambda: evaluate_run(run, self.kitchen.data, split, out))

    def _exported(self, run: Path) -> dict[str, Path]:
        """What the export left: the graph, the operating point and the label sets, if there are any."""
        paths = (run / REFERENCE_FILE, Export.path(run), LabelSets.path(run))
        return {path.name: path for path in paths if path.exists()}

    def once(
        self,
        folder: Path,
        what: str,
        settings: Mapping[str, Any],
        read: Mapping[str, Path],
        made: tuple[str, ...],
        work: Callable[[], object],
    ) -> None:
        """Do ``work``, which makes the files ``made`` in ``folder``, unless it is done; go on where it was begun."""
        record = folder / f"{what}.done.json"
        wanted = Done(settings=dict(settings), read={name: sha256_of(path) for name, path in read.items()})
        # Through JSON, as it is read back.
        wanted = Done.model_validate_json(wanted.model_dump_json())
        found = Done.model_validate_json(record.read_text()) if record.exists() else None
        told = f"{folder.name} ({what})" if folder.name not in (_VAL, _TEST) else f"{what} on {folder.name}"
        if found is None or found.model_copy(update={"done": False}) != wanted:
            old = [path for path in (folder / name for name in made) if path.exists()]
            if old and not self.kitchen.redo:
                raise ChangedError(f"{folder}: {_difference(found, wanted)}. `--redo` makes it anew.")
            for path in old:
                path.unlink()
            found = None
        if found is not None and found.done:
            self.kitchen.console.print(f"{told}: done", markup=False)
            return
        self.kitchen.console.print(f"{told}: {'goes on' if found else 'begins'}", markup=False)
        folder.mkdir(parents=True, exist_ok=True)
        record.write_text(wanted.model_dump_json(indent=2) + "\n")
        work()
        record.write_text(wanted.model_copy(update={"done": True}).model_dump_json(indent=2) + "\n")


def _difference(found: Done | None, wanted: Done) -> str:
    """What the recipe asks for now that was otherwise then."""
    if found is None:
        return "it holds what no recipe made"
    before, after = _flat(found.settings), _flat(wanted.settings)
    changed = [
        f"{k} was {before.get(k)!r}, is {after.get(k)!r}" for k in after | before if before.get(k) != after.get(k)
    ]
    changed += [f"{name} is another" for name in dict(found.read.items() ^ wanted.read.items())]
    return "it was begun with other settings or files: " + ", ".join(changed)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
