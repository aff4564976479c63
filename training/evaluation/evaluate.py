"""Figures of exported graphs on a split: from published slices through the serving transform to original pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from core.contracts.manifest import Metric, Variant
from training.evaluation.failures import mask_failures
from training.evaluation.predictions import MaskPredictions, predictions_path
from training.evaluation.subject import Subject, subject_of
from training.records import Evaluate, Failure


def evaluate_run(run: Path, data: Path, split: str, out: Path | None = None, label_set: str | None = None) -> Evaluate:
    """Score every graph file of a run folder or of a shipped bundle; the figures under its own labels.

    Writes into ``out`` (by default the run itself, ``runs/NAME-VERSION`` for a bundle) ``evaluate.json`` and, so that
    comparisons and reports need no second pass, the answers themselves: ``predictions-SPLIT.npz`` and, for int8,
    ``predictions-SPLIT.int8.npz``. A run whose graph serves several label sets is scored under each of them, in the
    folder ``out``/NAME. ``label_set`` scores, and returns, that one alone: the softmax then runs over its logits.

    Raises FileNotFoundError for a run that was not exported or data that lack the split, BundleCorrupt, and ValueError
    for a label set that the graph does not cover.
    """
    subject = subject_of(run, out, label_set)
    return subject.kind.evaluate(subject, data, split)


def evaluate_masks(
    subject: Subject,
    split: str,
    answer: Callable[[Path], MaskPredictions],
    figures_of: Callable[[MaskPredictions, str], list[Metric]],
) -> Evaluate:
    """Score the masks that ``answer`` draws with each file of a segmenter."""
    (folder,) = subject.views
    folder.mkdir(parents=True, exist_ok=True)
    answers = {variant: answer(path) for variant, path in subject.files.items()}
    for variant, item in answers.items():
        item.save(predictions_path(folder, split, variant))
    figures = {variant: tuple(figures_of(item, split)) for variant, item in answers.items()}
    return write_figures(folder, split, figures, mask_failures(answers["reference"]))


def write_figures(
    folder: Path,
    split: str,
    figures: Mapping[Variant, tuple[Metric, ...]],
    failures: tuple[Failure, ...],
    confusion: tuple[tuple[int, ...], ...] = (),
) -> Evaluate:
    """Write ``evaluate.json`` into ``folder``."""
    reference, int8 = figures["reference"], figures.get("int8", ())
    result = Evaluate(split=split, reference=reference, int8=int8, confusion=confusion, failures=failures)
    result.write(folder)
    return result
