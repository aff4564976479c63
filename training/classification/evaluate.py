"""A classifier's answers on a split, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax

from core.contracts.manifest import ClassificationPreprocessing, Metric, Variant
from core.contracts.tensors import LOGITS, PROBABILITY
from core.imaging.preparation.transforms import prepare_classification
from training.bundle.onnx_files import OnnxModel
from training.classification.task import outputs_of
from training.data.archives import BoolArray, Float64Array, IntArray
from training.data.labelled import load_slices
from training.data.outlined import SEQUENCE, outlined_rows, outlined_slices
from training.data.own import is_own
from training.evaluation.answers import ClassAnswers
from training.evaluation.evaluate import Subject, View, write_figures
from training.evaluation.inputs import LabelledInputs, labelled_inputs
from training.evaluation.intervals import Rows, averaged, measured
from training.evaluation.mask_figures import FIGSHARE, count_masks, first_of_each, mask_metrics
from training.evaluation.predictions import ClassPredictions, MaskPredictions, outlines_path, predictions_path
from training.evaluation.rates import (
    Counts,
    accuracy,
    balanced_accuracy,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    mean_of_defined,
    one_vs_rest_areas,
)
from training.loop.checkpoints import Trained
from training.records import Evaluate, Failure

SLICES = "four-source slices"
# A user's folder in place of the published sets.
OWN_SLICES = "own slices"
# The source whose patients are known; its parts share none.
PATIENT_SOURCE = "figshare"
OUTLINE = "outline of the classifier"
# Where a classifier draws an outline as well, a pixel is tumour from this probability on (the paper's).
OUTLINE_THRESHOLD = 0.5
# The worst answers that are named, so that a reader with the data can look at them.
CLASS_FAILURES = 6

Figures = Callable[[Rows], Mapping[str, float]]


def evaluate_classifier(subject: Subject, data: Path, split: str) -> Evaluate:
    """Every view of the graph files, with the outlines that they draw where they do."""
    spec = subject.preprocessing
    assert isinstance(spec, ClassificationPreprocessing)
    inputs = labelled_inputs(data, split, spec.size, subject.labels)
    logits = {variant: OnnxModel(path).run_all(inputs.images)[LOGITS] for variant, path in subject.files.items()}
    outlines = {variant: outline_answers(path, spec.size, data, split) for variant, path in subject.files.items()}
    results = []
    for folder, view in subject.views.items():
        folder.mkdir(parents=True, exist_ok=True)
        answered = {variant: answers(values, inputs, subject.labels, view) for variant, values in logits.items()}
        figures: dict[Variant, tuple[Metric, ...]] = {}
        for variant, item in answered.items():
            item.save(predictions_path(folder, split, variant))
            figures[variant] = tuple(class_metrics(item, view.quantile, split, name_of(data)))
            outline = outlines[variant]
            if outline is not None:
                outline.save(outlines_path(folder, split, variant))
                figures[variant] += tuple(mask_metrics(outline, split))
        reference = answered["reference"]
        confusion = confusion_matrix(reference.predicted, reference.labels, len(reference.names)).tolist()
        rows = tuple(map(tuple, confusion))
        results.append(write_figures(folder, split, figures, class_failures(reference), rows))
    return results[0]


def class_answers(trained: Trained, data: Path, split: str) -> ClassAnswers:
    """Logits of every slice of a split, at the size that the network was trained at last."""
    slices = load_slices(data, split, ClassificationPreprocessing(size=trained.size), trained.labels)
    outputs = outputs_of(trained.model, slices.images, torch.device("cpu"))
    return ClassAnswers(
        images=np.array([row.name for row in slices.rows]),
        groups=np.array(slices.groups),
        folds=np.zeros(len(slices.rows), np.int64),
        logits=np.concatenate([output.logits.numpy() for output in outputs]),
        labels=slices.labels,
        sources=slices.sources,
        names=np.array(trained.labels),
    )


def name_of(data: Path) -> str:
    """What figures call the labelled slices."""
    return OWN_SLICES if is_own(data) else SLICES


def outline_answers(path: Path, size: int, data: Path, split: str) -> MaskPredictions | None:
    """The outlines that a classifier with two tasks draws on Figshare slices; None for a graph that draws none."""
    model = OnnxModel(path)
    rows = outlined_rows(data, split)
    if PROBABILITY not in model.outputs or not rows:
        return None
    spec = ClassificationPreprocessing(size=size)
    pairs, patients = [], []
    for item in outlined_slices(data, split):
        image, placement = prepare_classification(item.sequences[SEQUENCE], spec)
        probability = model.run(image[None])[PROBABILITY][0, 0]
        pairs.append((placement.restore(probability) >= OUTLINE_THRESHOLD, item.mask))
        patients.append(item.patient)
    return count_masks(pairs, [row.name for row in rows], patients, FIGSHARE, OUTLINE)


def answers(
    logits: npt.NDArray[np.floating], inputs: LabelledInputs, names: tuple[str, ...], view: View
) -> ClassPredictions:
    """What a graph's ``logits`` (n, L) say under a view, on the slices whose label is one of the view's.

    ``names`` are the labels that ``inputs.labels`` indexes.
    """
    place = np.array([view.labels.index(name) if name in view.labels else -1 for name in names], np.int64)
    rows = np.flatnonzero(place[inputs.labels] >= 0)
    chosen = logits[rows][:, list(view.indices)].astype(np.float64) / view.temperature
    return ClassPredictions(
        probabilities=np.asarray(softmax(chosen, axis=1), np.float64),
        labels=place[inputs.labels[rows]],
        groups=np.array(inputs.groups)[rows],
        sources=inputs.sources[rows],
        images=np.array([row.name for row in inputs.rows])[rows],
        names=np.array(view.labels),
    )


def class_metrics(item: ClassPredictions, quantile: float | None, split: str, data_set: str = SLICES) -> list[Metric]:
    """Every figure of a classifier with its interval over groups: of all slices, then by source.

    Figures of a class that the split lacks are left out. ECE leans upwards when slices are drawn again, so its
    interval may lie above its value.
    """
    names = item.names.tolist()
    of_class = {f"recall of {name}": int(np.sum(item.labels == index)) for index, name in enumerate(names)}
    metrics = measured(_all_figures(item, quantile), item.groups.tolist(), data_set, split, counts=of_class)
    for source in sorted(set(item.sources.tolist())):
        part = item.only(item.sources == source)
        where = part.groups.tolist(), f"slices of {source}", split
        if source == PATIENT_SOURCE:
            metrics += measured(accuracies(part.predicted, part.labels), *where)
        else:
            metrics += averaged({"accuracy": part.predicted == part.labels}, *where)
    return metrics


def _all_figures(item: ClassPredictions, quantile: float | None) -> Figures:
    predicted, names = item.predicted, item.names.tolist()
    sets = None if quantile is None else prediction_sets(item, quantile)

    def figures(rows: Rows) -> dict[str, float]:
        probabilities, true = item.probabilities[rows], item.labels[rows]
        counts = Counts.of_confusion(confusion_matrix(predicted[rows], true, len(names)))
        areas = one_vs_rest_areas(probabilities, true)
        rates = {
            "recall": counts.recall,
            "specificity": counts.specificity,
            "precision": counts.precision,
            "F1": counts.f1,
            "AUC": areas,
        }
        present = counts.tp + counts.fn > 0
        values = {"accuracy": accuracy(predicted[rows], true), "balanced_accuracy": counts.macro(counts.recall)}
        values |= {f"macro {rate}": mean_of_defined(of[present]) for rate, of in rates.items() if rate != "recall"}
        for rate, of in rates.items():
            values |= {f"{rate} of {name}": float(of[k]) if present[k] else np.nan for k, name in enumerate(names)}
        values["ECE"] = expected_calibration_error(probabilities, true)
        values["Brier score"] = brier_score(probabilities, true)
        values["NLL"] = log_loss(probabilities, true)
        if sets is not None:
            values["coverage of prediction sets"] = float(sets[rows, true].mean())
            values["labels a prediction set"] = float(sets[rows].sum(axis=1).mean())
        return values

    return figures


def accuracies(answered: IntArray, true: IntArray) -> Figures:
    """Accuracy of answers (n,), and its mean over the classes."""
    return lambda rows: {
        "accuracy": accuracy(answered[rows], true[rows]),
        "balanced_accuracy": balanced_accuracy(answered[rows], true[rows]),
    }


def prediction_sets(item: ClassPredictions, quantile: float | Float64Array) -> BoolArray:
    """bool (n, K): the labels in each prediction set, as the service forms it: the answer is always among them.

    ``quantile`` is one for all, or (n, 1).
    """
    sets = 1 - item.probabilities <= quantile
    sets[np.arange(len(sets)), item.predicted] = True
    return np.asarray(sets, np.bool_)


def class_failures(item: ClassPredictions) -> tuple[Failure, ...]:
    """The most certain wrong answers, the first of each patient or cluster."""
    predicted, certainty = item.predicted, item.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != item.labels)
    found = [
        Failure(
            name=str(item.images[row]),
            data_set=str(item.sources[row]),
            truth=str(item.names[item.labels[row]]),
            answer=f"{item.names[predicted[row]]}, {certainty[row]:.2f}",
        )
        for row in first_of_each(wrong[np.argsort(-certainty[wrong], kind="stable")], item.groups.tolist())
    ]
    return tuple(found[:CLASS_FAILURES])
