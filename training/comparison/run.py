"""The comparison from end to end: train, answer, export, time. What is done is not done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from training.bundle.measured import core
from training.comparison.networks import NETWORKS, YARDSTICKS, Budget, Network, Networks, comparison_recipe
from training.comparison.speed import cpu_ms_by_provider, write_graph
from training.config import ClassifierConfig
from training.data.own import labels_in
from training.evaluation.answers import Answers
from training.folds.report import differences, judged_on
from training.folds.run import Candidate, ask, read_answers, train_fold
from training.folds.view import Folds
from training.kinds import kind_named
from training.loop.checkpoints import load_trained
from training.loop.running import Origins
from training.loop.trainer import CHECKPOINT
from training.make import Kitchen
from training.recipe import Recipe, Train

TIMED_FILE: Final = "timed.onnx"


def compare_networks(
    folds: Folds,
    fold: int,
    budget: Budget,
    kitchen: Kitchen,
    only: Sequence[str] = (),
    also: Mapping[str, Path] | None = None,
) -> Networks:
    """Train each of ``NETWORKS`` (or those of ``only``) on a fold and measure it, and measure the runs of ``also``.

    Raises ValueError for a network that is not known, and for a run that was not trained on this fold or is named as
    one of the networks.
    """
    strange = sorted(set(only) - set(NETWORKS))
    if strange:
        raise ValueError(f"{strange[0]!r} is none of {', '.join(NETWORKS)}")
    taken = sorted(set(also or {}) & set(NETWORKS))
    if taken:
        raise ValueError(f"{taken[0]!r} is the name of a network from noise: call the run otherwise")
    runs = {name: trained_on(folds, fold, run) for name, run in (also or {}).items()}
    recipe = comparison_recipe(budget, labels_in(kitchen.data, ClassifierConfig.labels))
    found: dict[str, tuple[Path, Answers]] = {}
    chosen = [name for name in NETWORKS if not only or name in only]
    prepare(recipe, chosen, folds, fold, kitchen.device)
    for name in chosen:
        path = train_fold(Candidate(name, recipe, name), folds, fold, kitchen)
        found[name] = path.parent, read_answers(path)
    for name, run in runs.items():
        found[name] = run, ask(run, folds, fold)
    networks = [measure(name, run, answers, compared=name not in runs) for name, (run, answers) in found.items()]
    return Networks(
        budget=budget,
        folds=folds.count,
        fold=fold,
        processor=core(),
        networks=tuple(_with_differences(networks, {name: answers for name, (_, answers) in found.items()})),
    )


def prepare(recipe: Recipe, names: Sequence[str], folds: Folds, fold: int, device: str) -> None:
    """Put the slices of the fold into the cache, for each kind that is still to be trained.

    Else the first network of a kind would spend minutes of its budget on them, and the others none.
    """
    steps = {step.name: step for step in recipe.steps if isinstance(step, Train)}
    waiting = [name for name in names if not (Candidate(name, recipe, name).run(folds.of(fold)) / CHECKPOINT).exists()]
    first = {steps[name].base: steps[name].configuration() for name in reversed(waiting)}
    for config in first.values():
        phase = config.schedule.phases[0]
        task = kind_named(config.kind).training(config, folds.view(fold), device, Origins())
        task.batch(phase)
        task.validate(task.model.eval(), phase.size)


def trained_on(folds: Folds, fold: int, run: Path) -> Path:
    """The run. Raises ValueError unless it lies in the fold's folder: another has seen what the fold holds out."""
    if not (run / CHECKPOINT).exists() or not run.resolve().is_relative_to(folds.of(fold).resolve()):
        raise ValueError(f"{run} was not trained on fold {fold}: its runs lie in {folds.of(fold)}")
    return run


def measure(name: str, run: Path, answers: Answers, *, compared: bool) -> Network:
    """All that is kept of one network; its graph is written where it is not yet, or is older than the weights."""
    trained, graph = load_trained(run), run / TIMED_FILE
    if not graph.exists() or graph.stat().st_mtime_ns < (run / CHECKPOINT).stat().st_mtime_ns:
        write_graph(trained, graph)
    return Network(
        name=name,
        kind=trained.kind.name,
        architecture=trained.architecture,
        compared=compared,
        parameters=sum(weights.numel() for weights in trained.model.parameters()),
        images_seen=trained.images_seen,
        size=trained.size,
        # The page says nothing of patients one by one, and neither shall what is published.
        judged=tuple(item.model_copy(update={"patients": ()}) for item in judged_on(answers)),
        cpu_ms=cpu_ms_by_provider(graph, trained.size),
        history=trained.history,
    )


def _with_differences(networks: Sequence[Network], answers: Mapping[str, Answers]) -> list[Network]:
    """Each network's differences from the yardstick of its kind, where that is among them."""
    ordered = {name: answers[name] for name in sorted(answers, key=lambda name: name not in YARDSTICKS)}
    heads = {network.kind for network in networks if network.name in YARDSTICKS}
    found = [item for item in differences(ordered) if item.first in YARDSTICKS]
    return [
        network.model_copy(update={"differences": tuple(item for item in found if item.second == network.name)})
        if network.kind in heads
        else network
        for network in networks
    ]
