"""Figures of out-of-fold answers. What is fitted is fitted on answers, so each fold is judged by what others gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from core.contracts.manifest import Metric
from training.bundle.export import THRESHOLDS
from training.classification.calibration import calibrate, conformal_quantile, fit_temperature, strangeness_of_truth
from training.classification.evaluate import prediction_sets
from training.classification.label_sets import LABEL_SETS
from training.data.archives import BoolArray, Float64Array, IntArray
from training.evaluation.answers import ClassAnswers, MaskAnswers
from training.evaluation.intervals import RESAMPLES, Rows, averaged, mcnemar, measured
from training.evaluation.mask_figures import LGG, SINGLE_SLICES, mask_metrics
from training.evaluation.predictions import ClassPredictions, MaskPredictions
from training.evaluation.rates import accuracy, balanced_accuracy, expected_calibration_error, log_loss
from training.records import Part

SPLIT: Final = "out-of-fold"
EVERYTHING: Final = "all slices"
OUTLINES: Final = "outlines"


class Patient(Part):
    """A patient or a cluster of copies: how many of its slices were answered rightly."""

    name: str
    source: str
    label: str
    slices: int
    right: int
    nll: float


class Fitted(Part):
    """What all answers together give, for the one network that is trained on everything."""

    temperature: float | None = None
    conformal_quantile: float | None = None
    threshold: float | None = None


class Judged(Part):
    """Figures of one candidate on one label set, or of a segmenter on outlines."""

    on: str
    labels: tuple[str, ...] = ()
    slices: int
    groups: int
    folds: tuple[int, ...]
    fitted: Fitted
    figures: tuple[Metric, ...]
    patients: tuple[Patient, ...] = ()


class Difference(Part):
    """A figure of the second candidate less that of the first, on the very same items.

    ``only_first``, ``only_second`` and ``p_value`` are McNemar's exact test, which takes slices for independent.
    """

    first: str
    second: str
    on: str
    metric: Metric
    only_first: int | None = None
    only_second: int | None = None
    p_value: float | None = None

    @property
    def verdict(self) -> str:
        """Which of the two is better by this figure, where the interval leaves no doubt."""
        low, high = self.metric.interval or (-np.inf, np.inf)
        if self.metric.name == "NLL":
            low, high = -high, -low
        return self.second if low > 0 else self.first if high < 0 else "not told apart"


def label_sets_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Of the shipped label sets those that a network of these labels covers; its own labels where it covers none."""
    covered = {name: labels for name, labels in LABEL_SETS.items() if set(labels) <= set(names)}
    return covered or {"own labels": tuple(names)}


def _others(folds: IntArray, groups: Sequence[str]) -> Iterator[tuple[BoolArray, BoolArray]]:
    """(fit on, judge) bool (n,): each fold by the others; of one fold alone each half of its groups by the other."""
    parts = folds
    if len(np.unique(folds)) < 2:
        order = {name: index for index, name in enumerate(sorted(set(groups)))}
        parts = np.array([order[name] % 2 for name in groups], np.int64)
    for part in np.unique(parts):
        judged = parts == part
        # Where there is but one group, there is nothing else to fit on.
        yield (~judged if not judged.all() else judged), judged


def calibrated(answers: ClassAnswers) -> tuple[ClassPredictions, Float64Array]:
    """Probabilities at a temperature, and for each slice a threshold of prediction sets (n,), fitted on other folds."""
    probabilities = np.empty(answers.logits.shape, np.float64)
    quantiles = np.empty(len(answers.labels), np.float64)
    for fitted, judged in _others(answers.folds, answers.groups.tolist()):
        temperature = fit_temperature(answers.logits[fitted], answers.labels[fitted])
        scores = strangeness_of_truth(answers.logits[fitted] / np.float32(temperature), answers.labels[fitted])
        probabilities[judged] = softmax(answers.logits[judged].astype(np.float64) / temperature, axis=1)
        quantiles[judged] = conformal_quantile(scores)
    item = ClassPredictions(
        probabilities, answers.labels, answers.groups, answers.sources, answers.images, answers.names
    )
    return item, quantiles


def judge_classes(answers: ClassAnswers, on: str, labels: Sequence[str]) -> Judged:
    """Accuracy, balanced accuracy, NLL and ECE of all slices, by source and by class; patients one by one."""
    answers = answers.restricted(labels)
    item, quantiles = calibrated(answers)
    metrics: list[Metric] = []
    for name, rows in _strata(item):
        part, groups = item.only(rows), item.groups[rows].tolist()
        metrics += measured(_class_figures(part), groups, name, SPLIT, resamples=RESAMPLES)
        right = part.predicted == part.labels
        units = [float(right[part.groups == group].mean()) for group in sorted(set(groups))]
        of_patients = {"accuracy a patient, mean": units}
        metrics += averaged(of_patients, sorted(set(groups)), name, SPLIT, "patients", RESAMPLES)
    sets = prediction_sets(item, quantiles[:, None])
    columns = {
        "coverage of prediction sets": sets[np.arange(len(sets)), item.labels],
        "labels a prediction set": sets.sum(axis=1),
    }
    metrics += averaged(columns, item.groups.tolist(), EVERYTHING, SPLIT, resamples=RESAMPLES)
    temperature, quantile = calibrate(answers.logits, answers.labels, answers.groups.tolist())
    return Judged(
        on=on,
        labels=tuple(labels),
        slices=len(item.labels),
        groups=len(set(item.groups.tolist())),
        folds=tuple(np.unique(answers.folds).tolist()),
        fitted=Fitted(temperature=temperature, conformal_quantile=quantile),
        figures=tuple(metrics),
        patients=tuple(_patients(item)),
    )


def _strata(item: ClassPredictions) -> Iterator[tuple[str, BoolArray]]:
    """All slices, those of each source, and those of each class that is there."""
    yield EVERYTHING, np.ones(len(item.labels), np.bool_)
    for source in sorted(set(item.sources.tolist())):
        yield f"slices of {source}", np.asarray(item.sources == source)
    for label in np.unique(item.labels):
        yield f"slices with {item.names[label]}", np.asarray(item.labels == label)


def _class_figures(item: ClassPredictions) -> Callable[[Rows], dict[str, float]]:
    predicted = item.predicted

    def figures(rows: Rows) -> dict[str, float]:
        probabilities, true = item.probabilities[rows], item.labels[rows]
        return {
            "accuracy": accuracy(predicted[rows], true),
            "balanced_accuracy": balanced_accuracy(predicted[rows], true),
            "NLL": log_loss(probabilities, true),
            "ECE": expected_calibration_error(probabilities, true),
        }

    return figures


def _patients(item: ClassPredictions) -> Iterator[Patient]:
    """Those with the most wrong answers first."""
    right = item.predicted == item.labels
    found = []
    for group in sorted(set(item.groups.tolist())):
        rows = np.flatnonzero(item.groups == group)
        found.append(
            Patient(
                name=group,
                source="+".join(sorted(set(item.sources[rows].tolist()))),
                label="+".join(sorted(set(item.names[item.labels[rows]].tolist()))),
                slices=len(rows),
                right=int(right[rows].sum()),
                nll=log_loss(item.probabilities[rows], item.labels[rows]),
            )
        )
    yield from sorted(found, key=lambda patient: (patient.right - patient.slices, patient.name))


def with_thresholds(answers: MaskAnswers) -> tuple[MaskPredictions, float]:
    """Masks at the threshold that other folds are best at, and the threshold that all of them are best at."""
    chosen = np.empty(len(answers.true), np.intp)
    for fitted, judged in _others(answers.folds, answers.groups.tolist()):
        chosen[judged] = _best_threshold(answers.only(fitted))
    return _by_group(answers.at(chosen), answers), THRESHOLDS[_best_threshold(answers)]


def _by_group(masks: MaskPredictions, answers: MaskAnswers) -> MaskPredictions:
    """Single slices of one group as of one patient; elsewhere the patient is what a Dice is of."""
    single = np.isin(answers.data_sets, sorted(SINGLE_SLICES))
    return replace(masks, patients=np.where(single, answers.groups, answers.patients))


def _best_threshold(answers: MaskAnswers) -> int:
    """Where the mean of all views' Dice is highest, each view counting alike: what ``export`` chooses by."""
    scores = []
    for index in range(len(THRESHOLDS)):
        masks = answers.at(np.full(len(answers.true), index))
        scores.append(np.mean([values.mean() for _, _, values, _ in _dice(masks)] or [0.0]))
    return int(np.argmax(scores))


def _dice(masks: MaskPredictions) -> Iterator[tuple[str, tuple[str, ...], Float64Array, list[str]]]:
    """Of each view: what the Dice is called, the items' names, their Dice, and their groups.

    Of patients whose slices are a volume, else of slices with tumour.
    """
    for data_set, view, part in masks.parts():
        single = data_set in SINGLE_SLICES
        units = part if single else part.by_patient()
        units = units.only(units.has_tumour)
        if len(units.true):
            names = units.images if single else units.patients
            yield f"{data_set}, {view}", tuple(names.tolist()), units.dice, units.patients.tolist()


def judge_masks(answers: MaskAnswers) -> Judged:
    """Dice by patient, and of single slices, in every view."""
    masks, threshold = with_thresholds(answers)
    return Judged(
        on=OUTLINES,
        slices=len(set(answers.images.tolist())),
        groups=len(set(answers.groups.tolist())),
        folds=tuple(np.unique(answers.folds).tolist()),
        fitted=Fitted(threshold=threshold),
        figures=tuple(metric for metric in mask_metrics(masks, SPLIT) if "Hausdorff" not in metric.name),
    )


def class_differences(first: tuple[str, ClassAnswers], second: tuple[str, ClassAnswers]) -> list[Difference]:
    """The second less the first on every label set of both, on the slices that both answered."""
    found = []
    sets = [label_sets_of(answers.names.tolist()) for _, answers in (first, second)]
    for on in (name for name in sets[0] if sets[1].get(name) == sets[0][name]):
        items = [calibrated(answers.restricted(sets[0][on]))[0] for _, answers in (first, second)]
        one, two = (item.only(_common(item.images, items)) for item in items)
        if not len(one.labels):
            continue
        metrics = measured(_less(one, two), one.groups.tolist(), EVERYTHING, SPLIT, resamples=RESAMPLES)
        test = mcnemar(one.predicted == one.labels, two.predicted == two.labels)
        for metric in metrics:
            told = {"only_first": test.only_first, "only_second": test.only_second, "p_value": test.p_value}
            extra = told if metric.name == "accuracy" else {}
            found.append(Difference(first=first[0], second=second[0], on=on, metric=metric, **extra))
    return found


def _common(images: npt.NDArray[np.str_], items: Sequence[ClassPredictions]) -> npt.NDArray[np.intp]:
    """Rows of the images that every item has, by name."""
    shared = set.intersection(*(set(item.images.tolist()) for item in items))
    order = np.argsort(images)
    return np.asarray([row for row in order if str(images[row]) in shared], np.intp)


def _less(first: ClassPredictions, second: ClassPredictions) -> Callable[[Rows], Mapping[str, float]]:
    figures = _class_figures(first), _class_figures(second)

    def difference(rows: Rows) -> dict[str, float]:
        one, two = (of(rows) for of in figures)
        return {name: two[name] - one[name] for name in ("accuracy", "balanced_accuracy", "NLL")}

    return difference


def mask_differences(first: tuple[str, MaskAnswers], second: tuple[str, MaskAnswers]) -> list[Difference]:
    """Dice of the second less that of the first, in each view, on the patients or slices that both answered."""
    one, two = (
        {view: (names, dict(zip(names, values.tolist(), strict=True)), groups) for view, names, values, groups in parts}
        for parts in (_dice(with_thresholds(answers)[0]) for _, answers in (first, second))
    )
    found = []
    for view in (view for view in one if view in two):
        dice = one[view][1], two[view][1]
        groups = dict(zip(one[view][0], one[view][2], strict=True))
        names = sorted(dice[0].keys() & dice[1].keys())
        gains = [dice[1][name] - dice[0][name] for name in names]
        unit = "patients" if view.startswith(LGG) else "slices"
        drawn = [groups[name] for name in names]
        metrics = averaged({"Dice": gains}, drawn, view, SPLIT, unit, RESAMPLES) if names else []
        found += [Difference(first=first[0], second=second[0], on=OUTLINES, metric=metric) for metric in metrics]
    return found
