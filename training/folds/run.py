"""Candidates on folds: each is trained on all folds but one and answers on that one, fold by fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from training.evaluation.answers import Answers, ClassAnswers, MaskAnswers, joined
from training.folds.view import HELD_OUT_SPLIT, Folds
from training.kinds import Kind, kind_named
from training.loop.checkpoints import load_trained
from training.loop.trainer import CHECKPOINT
from training.make import Kitchen, Work
from training.recipe import Recipe, Step, Train, read_recipe

ANSWERS: Final = "answers.npz"


@dataclass(frozen=True)
class Candidate:
    """A step of a recipe, by default the last: what is trained on a fold, and all that it is made from."""

    name: str
    recipe: Recipe
    step: str

    @classmethod
    def named(cls, name: str) -> Candidate:
        """``RECIPE`` or ``RECIPE:STEP``. Raises FileNotFoundError and ValueError for one that is not there."""
        recipe_name, _, step = name.partition(":")
        recipe = read_recipe(recipe_name)
        steps = [item.name for item in recipe.steps]
        if step and step not in steps:
            raise ValueError(f"{recipe_name} has no step {step!r}: there are {', '.join(steps)}")
        last = step or steps[-1]
        return cls(recipe.bundle.name + (f":{step}" if step else ""), recipe, last)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What must be made, in the recipe's order."""
        wanted = {self.step}
        for step in reversed(self.recipe.steps):
            if step.name in wanted:
                wanted |= set(step.inputs)
        return tuple(step for step in self.recipe.steps if step.name in wanted)

    def run(self, home: Path) -> Path:
        """Where its network lies on the fold of a folder."""
        return home / self.recipe.bundle.name / self.step


def train_fold(candidate: Candidate, folds: Folds, fold: int, kitchen: Kitchen) -> Path:
    """Train on the other folds and answer on this one, each once; the file of the answers.

    Of ``kitchen`` the folders are those of the fold. Raises ChangedError as ``make`` does, and ValueError for a kind of
    network of which nothing is made of such answers.
    """
    home = folds.of(fold)
    *_, last = (step for step in candidate.steps if isinstance(step, Train))
    # Before anything is trained for hours.
    check_answers(kind_named(last.configuration().kind))
    work = Work(candidate.recipe, replace(kitchen, data=folds.view(fold), runs=home))
    for step in candidate.steps:
        work.step(step)
    run = candidate.run(home)
    read = {CHECKPOINT: run / CHECKPOINT}
    work.once(run, "answers", {}, read, (ANSWERS,), lambda: ask(run, folds, fold).save(run / ANSWERS))
    return run / ANSWERS


def check_answers(kind: Kind) -> None:
    """Raise ValueError for a kind of network of which nothing is made of what it answers out of fold."""
    if kind.answers is None:
        raise ValueError(f"no figures are made of what a {kind.name} answers out of fold")


def ask(run: Path, folds: Folds, fold: int) -> Answers:
    """What the network of a run says of the fold that it has not seen."""
    trained = load_trained(run)
    check_answers(trained.kind)
    assert trained.kind.answers is not None
    found = trained.kind.answers(trained, folds.view(fold), HELD_OUT_SPLIT)
    groups = np.array([folds.groups[name] for name in found.images.tolist()])
    return replace(found, groups=groups, folds=np.full(len(groups), fold))


def read_answers(path: Path) -> Answers:
    """The answers of either kind in a file."""
    with np.load(path, allow_pickle=False) as stored:
        kind: type[ClassAnswers] | type[MaskAnswers] = ClassAnswers if "logits" in stored else MaskAnswers
    return kind.load(path)


def answers_of(candidate: Candidate, folds: Folds) -> Answers | None:
    """Those of every fold that has been answered, together, and in ``answers/NAME.npz``; None where none has."""
    paths = [candidate.run(folds.of(fold)) / ANSWERS for fold in range(folds.count)]
    parts = [read_answers(path) for path in paths if path.exists()]
    if not parts:
        return None
    found = joined(parts)
    target = folds.folder / "answers" / f"{candidate.name.replace(':', '-')}.npz"
    target.parent.mkdir(exist_ok=True)
    found.save(target)
    return found


def gather(candidates: Sequence[Candidate], folds: Folds) -> Mapping[str, Answers]:
    """Answers by the name of their candidate. Raises ValueError for one that has answered nothing."""
    found = {candidate.name: answers_of(candidate, folds) for candidate in candidates}
    silent = [name for name, answers in found.items() if answers is None]
    if silent:
        raise ValueError(f"{silent[0]} has answered no fold yet")
    return {name: answers for name, answers in found.items() if answers is not None}
