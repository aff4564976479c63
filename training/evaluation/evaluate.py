"""Figures of exported graphs on a split: from published slices through the serving transform to original pixels."""

from __future__ import annotations

from pathlib import Path

from core.contracts.manifest import Metric, Variant
from training.bundle.onnx_files import OnnxModel
from training.data.own import is_own
from training.evaluation.classifier import OWN_SLICES, SLICES, answers, class_metrics, confusion_rows
from training.evaluation.failures import class_failures, mask_failures
from training.evaluation.inputs import labelled_inputs
from training.evaluation.mask_figures import mask_metrics
from training.evaluation.predictions import outlines_path, predictions_path
from training.evaluation.segmenter import mask_answers, outline_answers
from training.evaluation.subject import Subject, subject_of
from training.evaluation.volumes import region_metrics, volume_answers
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
    if subject.kind == "classifier":
        return _evaluate_classifier(subject, data, split)
    return _evaluate_segmenter(subject, data, split)


def _evaluate_classifier(subject: Subject, data: Path, split: str) -> Evaluate:
    inputs = labelled_inputs(data, split, subject.size, subject.labels)
    logits = {variant: OnnxModel(path).run_all(inputs.images)["logits"] for variant, path in subject.files.items()}
    outlines = {variant: outline_answers(path, subject.size, data, split) for variant, path in subject.files.items()}
    data_set = OWN_SLICES if is_own(data) else SLICES
    results = []
    for folder, view in subject.views.items():
        folder.mkdir(parents=True, exist_ok=True)
        answered = {variant: answers(values, inputs, subject.labels, view) for variant, values in logits.items()}
        figures: dict[Variant, tuple[Metric, ...]] = {}
        for variant, item in answered.items():
            item.save(predictions_path(folder, split, variant))
            figures[variant] = tuple(class_metrics(item, view.quantile, split, data_set))
            outline = outlines[variant]
            if outline is not None:
                outline.save(outlines_path(folder, split, variant))
                figures[variant] += tuple(mask_metrics(outline, split))
        reference = answered["reference"]
        results.append(_written(folder, split, figures, class_failures(reference), confusion_rows(reference)))
    return results[0]


def _evaluate_segmenter(subject: Subject, data: Path, split: str) -> Evaluate:
    (folder,) = subject.views
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[Variant, tuple[Metric, ...]] = {}
    failures: tuple[Failure, ...] = ()
    for variant, path in subject.files.items():
        if subject.volume is not None:
            item = volume_answers(path, subject.volume, data, split)
            metrics = region_metrics(item, split)
        else:
            item = mask_answers(path, subject.size, subject.threshold, data, split)
            metrics = mask_metrics(item, split)
        item.save(predictions_path(folder, split, variant))
        figures[variant] = tuple(metrics)
        if variant == "reference":
            failures = mask_failures(item)
    return _written(folder, split, figures, failures)


def _written(
    folder: Path,
    split: str,
    figures: dict[Variant, tuple[Metric, ...]],
    failures: tuple[Failure, ...],
    confusion: tuple[tuple[int, ...], ...] = (),
) -> Evaluate:
    result = Evaluate(
        split=split,
        reference=figures["reference"],
        int8=figures.get("int8", ()),
        confusion=confusion,
        failures=failures,
    )
    result.write(folder)
    return result
