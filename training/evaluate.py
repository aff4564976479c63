"""Figures of exported graphs on a split: from published slices through the serving transform to original pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from core.contracts.manifest import Metric
from training.data.lgg import lgg_slices
from training.data.multisequence import SequenceSlice
from training.data.outlined import SEQUENCE as OUTLINED_SEQUENCE
from training.data.outlined import outlined_slices
from training.export import LGG_SEQUENCES
from training.inputs import LabelledInputs, OutlinedInput, alone, labelled_inputs, outlined_inputs, pick
from training.metrics import accuracy, balanced_accuracy, bootstrap_interval
from training.onnx_files import OnnxModel
from training.records import INT8_FILE, REFERENCE_FILE, Evaluate, Export

FloatArray = npt.NDArray[np.float32]
SLICES = "four-source slices"
LGG = "TCGA-LGG"
FIGSHARE = "Figshare"


def evaluate_run(run: Path, data: Path, split: str) -> Evaluate:
    """Score ``model.onnx`` and, where it exists, ``model.int8.onnx``; writes ``evaluate.json``."""
    export = Export.read(run)
    score = _score_classifier if export.kind == "classifier" else _score_segmenter
    reference, confusion = score(run / REFERENCE_FILE, data, split, export)
    int8 = score(run / INT8_FILE, data, split, export)[0] if (run / INT8_FILE).exists() else ()
    result = Evaluate(split=split, reference=reference, int8=int8, confusion=confusion)
    result.write(run)
    return result


@dataclass(frozen=True)
class _Answers:
    """Predictions on a labelled split."""

    probabilities: FloatArray
    labels: npt.NDArray[np.int64]
    groups: tuple[str, ...]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    def only(self, rows: npt.NDArray[np.bool_]) -> _Answers:
        groups = tuple(name for name, kept in zip(self.groups, rows, strict=True) if kept)
        return _Answers(self.probabilities[rows], self.labels[rows], groups)

    def metric(self, name: str, data_set: str, split: str, value: Callable[[npt.NDArray[np.intp]], float]) -> Metric:
        """``value`` of chosen rows: of all of them, and its bootstrap interval over groups."""
        return Metric(
            name=name,
            value=value(np.arange(len(self.labels))),
            data_set=data_set,
            split=split,
            count=len(self.labels),
            interval=bootstrap_interval(value, self.groups),
        )

    def accuracy(self, name: str, data_set: str, split: str) -> Metric:
        predicted = self.predicted
        return self.metric(name, data_set, split, lambda rows: accuracy(predicted[rows], self.labels[rows]))


def _score_classifier(
    path: Path, data: Path, split: str, export: Export
) -> tuple[tuple[Metric, ...], tuple[tuple[int, ...], ...]]:
    inputs: LabelledInputs = labelled_inputs(data, split, export.size, export.labels)
    logits = OnnxModel(path).run_all(inputs.images)["logits"]
    answers = _Answers(softmax(logits, axis=1), inputs.labels, inputs.groups)
    predicted = answers.predicted
    metrics = [
        answers.accuracy("accuracy", SLICES, split),
        answers.metric(
            "balanced_accuracy", SLICES, split, lambda r: balanced_accuracy(predicted[r], answers.labels[r])
        ),
    ]
    for index, label in enumerate(export.labels):
        if np.any(inputs.labels == index):
            metrics.append(answers.only(inputs.labels == index).accuracy(f"recall of {label}", SLICES, split))
    metrics += [
        answers.only(inputs.sources == source).accuracy("accuracy", f"slices of {source}", split)
        for source in sorted(set(inputs.sources.tolist()))
    ]
    metrics += _set_metrics(answers, export, split)
    confusion = np.zeros((len(export.labels), len(export.labels)), int)
    np.add.at(confusion, (inputs.labels, predicted), 1)
    return tuple(metrics), tuple(tuple(int(n) for n in row) for row in confusion)


def _set_metrics(answers: _Answers, export: Export, split: str) -> list[Metric]:
    sets = 1 - answers.probabilities <= (export.conformal_quantile or 0.0)
    holds = sets[np.arange(len(sets)), answers.labels]
    sizes = sets.sum(axis=1)
    return [
        answers.metric("coverage of prediction sets", SLICES, split, lambda rows: float(holds[rows].mean())),
        answers.metric("labels a prediction set", SLICES, split, lambda rows: float(sizes[rows].mean())),
    ]


@dataclass(frozen=True)
class MaskScores:
    """What one slice adds to the figures: pixel counts in original pixels."""

    patient: str
    predicted: int
    true: int
    overlap: int

    @property
    def dice(self) -> float:
        """Dice of this slice alone; 1 when neither has tumour."""
        total = self.predicted + self.true
        return 2 * self.overlap / total if total else 1.0


def score_masks(model: OnnxModel, inputs: Iterable[OutlinedInput], threshold: float) -> list[MaskScores]:
    """Predict slice by slice and count in original pixels."""
    scores = []
    for item in inputs:
        probability = model.run(item.image[None])["probability"][0, 0]
        predicted = item.placement.restore(probability) >= threshold
        overlap = int((predicted & item.mask).sum())
        scores.append(MaskScores(item.patient, int(predicted.sum()), int(item.mask.sum()), overlap))
    return scores


def patient_dice(scores: Sequence[MaskScores]) -> dict[str, float]:
    """Volumetric Dice: all slices of a patient together."""
    result = {}
    for patient in sorted({score.patient for score in scores}):
        own = [score for score in scores if score.patient == patient]
        total = sum(score.predicted + score.true for score in own)
        result[patient] = 2 * sum(score.overlap for score in own) / total if total else 1.0
    return result


def _patient_metrics(scores: Sequence[MaskScores], shown: str, split: str) -> list[Metric]:
    by_patient = patient_dice(scores)
    values = np.array(list(by_patient.values()))
    names = list(by_patient)
    statistics: dict[str, Callable[[npt.NDArray[np.intp]], float]] = {
        "mean": lambda rows: float(values[rows].mean()),
        "median": lambda rows: float(np.median(values[rows])),
    }
    return [
        Metric(
            name=f"volumetric Dice a patient, {kind} ({shown})",
            value=statistic(np.arange(len(values))),
            data_set=LGG,
            split=split,
            count=len(values),
            count_unit="patients",
            interval=bootstrap_interval(statistic, names),
        )
        for kind, statistic in statistics.items()
    ]


def _slice_metric(name: str, values: list[float], patients: list[str], data_set: str, split: str) -> Metric:
    array = np.array(values)

    def mean(rows: npt.NDArray[np.intp]) -> float:
        return float(array[rows].mean())

    interval = bootstrap_interval(mean, patients)
    return Metric(
        name=name, value=float(array.mean()), data_set=data_set, split=split, count=len(values), interval=interval
    )


def _slice_metrics(scores: Sequence[MaskScores], shown: str, data_set: str, split: str) -> list[Metric]:
    tumour = [score for score in scores if score.true]
    healthy = [score for score in scores if not score.true]
    metrics = []
    if tumour:
        dices, owners = [score.dice for score in tumour], [score.patient for score in tumour]
        metrics.append(_slice_metric(f"Dice on tumour slices ({shown})", dices, owners, data_set, split))
    if healthy:
        wrong, owners = [float(score.predicted > 0) for score in healthy], [score.patient for score in healthy]
        metrics.append(_slice_metric(f"false-positive slices, share ({shown})", wrong, owners, data_set, split))
    return metrics


def _score_segmenter(
    path: Path, data: Path, split: str, export: Export
) -> tuple[tuple[Metric, ...], tuple[tuple[int, ...], ...]]:
    model, threshold = OnnxModel(path), export.threshold or 0.5
    metrics: list[Metric] = []
    lgg: list[SequenceSlice] = list(lgg_slices(data, split))
    shown = {
        "t1+t1ce+flair": pick(*LGG_SEQUENCES),
        "flair alone": pick("flair"),
        "t1ce alone": pick("t1ce"),
        "flair as a grey image": alone("flair"),
    }
    for name, choose in shown.items():
        scores = score_masks(model, outlined_inputs(lgg, export.size, choose), threshold)
        metrics += _patient_metrics(scores, name, split)
        metrics += _slice_metrics(scores, name, LGG, split)
    outlined = list(outlined_slices(data, split))
    for name, choose in {"t1ce": pick(OUTLINED_SEQUENCE), "as a grey image": alone(OUTLINED_SEQUENCE)}.items():
        scores = score_masks(model, outlined_inputs(outlined, export.size, choose), threshold)
        metrics += _slice_metrics(scores, name, FIGSHARE, split)
    return tuple(metrics), ()
