"""Classification: counts of right and wrong answers, the rates made of them, and how far probabilities are right.

Rates follow the usual definitions over true and false positives and negatives (TP, TN, FP, FN), one class against
the rest. Sensitivity and recall are one figure. A rate whose denominator is empty is undefined and NaN.
Probabilities (n, K) sum to 1, of true classes (n,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from training.data.archives import BoolArray, Float64Array, IntArray

# Of equal width, for how far probabilities can be believed.
BINS = 15


def accuracy(predicted: IntArray, true: IntArray) -> float:
    """Share of right answers."""
    return float(np.mean(predicted == true))


def balanced_accuracy(predicted: IntArray, true: IntArray) -> float:
    """Mean over the present classes of the share of right answers: macro recall."""
    return float(np.mean([np.mean(predicted[true == label] == label) for label in np.unique(true)]))


def confusion_matrix(predicted: IntArray, true: IntArray, classes: int) -> IntArray:
    """Counts (classes, classes): rows are the truth, columns the answer."""
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes).astype(np.int64)


@dataclass(frozen=True)
class Counts:
    """TP, TN, FP and FN (K,) of K classes, each against the rest."""

    tp: IntArray
    tn: IntArray
    fp: IntArray
    fn: IntArray

    @classmethod
    def of_confusion(cls, confusion: IntArray) -> Self:
        """Of each class of a confusion matrix (K, K)."""
        tp = np.diag(confusion)
        fp, fn = confusion.sum(axis=0) - tp, confusion.sum(axis=1) - tp
        return cls(tp, confusion.sum() - tp - fp - fn, fp, fn)

    @property
    def accuracy(self) -> Float64Array:
        """(TP + TN) / (TP + TN + FP + FN)."""
        return _ratio(self.tp + self.tn, self.tp + self.tn + self.fp + self.fn)

    @property
    def recall(self) -> Float64Array:
        """TP / (TP + FN), also called sensitivity; undefined for an absent class."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Float64Array:
        """TN / (TN + FP); undefined where nothing else is present."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> Float64Array:
        """TP / (TP + FP); 0 for a present class that was never answered, so that a macro mean counts it as missed."""
        never_answered = (self.tp + self.fp == 0) & (self.fn > 0)
        return np.where(never_answered, 0.0, _ratio(self.tp, self.tp + self.fp))

    @property
    def f1(self) -> Float64Array:
        """2 TP / (2 TP + FP + FN): harmonic mean of precision and recall."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def macro(self, rate: Float64Array) -> float:
        """Mean of a rate (K,) over the classes that are present in the truth."""
        return mean_of_defined(rate[self.tp + self.fn > 0])


def _ratio(numerator: IntArray, denominator: IntArray) -> Float64Array:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def mean_of_defined(values: npt.NDArray[Any]) -> float:
    """Mean of what is not NaN; NaN where nothing is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def area_under_roc(scores: Float64Array, positive: BoolArray) -> float:
    """Chance that a positive scores above a negative, ties counted half (the Mann-Whitney statistic over n+ n-).

    ``scores`` and ``positive`` are (n,). NaN where one of the two kinds is absent.
    """
    above, below = scores[positive], np.sort(scores[~positive])
    if not above.size or not below.size:
        return float("nan")
    beaten = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
    return float(beaten.sum() / (2 * above.size * below.size))


def one_vs_rest_areas(probabilities: Float64Array, true: IntArray) -> Float64Array:
    """Area under the ROC curve (K,) of each class against the rest, scored by its own probability (n, K)."""
    return np.array([area_under_roc(column, true == label) for label, column in enumerate(probabilities.T)])


@dataclass(frozen=True)
class Reliability:
    """Answers by their confidence in bins of equal width over (0, 1]: ``count``, mean ``confidence`` and ``accuracy``.

    All are (bins,); confidence and accuracy are 0 in an empty bin.
    """

    count: IntArray
    confidence: Float64Array
    accuracy: Float64Array


def reliability(probabilities: Float64Array, true: IntArray, bins: int = BINS) -> Reliability:
    """The points of a reliability diagram; the confidence of an answer is its probability, bins include their top."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == true
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    count = np.bincount(index, minlength=bins)
    share = np.maximum(count, 1)
    return Reliability(
        count.astype(np.int64), np.bincount(index, confidence, bins) / share, np.bincount(index, right, bins) / share
    )


def expected_calibration_error(probabilities: Float64Array, true: IntArray, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy, bins weighted by their answers, in [0, 1] (Naeini 2015, Guo 2017)."""
    points = reliability(probabilities, true, bins)
    return float(points.count @ np.abs(points.accuracy - points.confidence) / points.count.sum())


def brier_score(probabilities: Float64Array, true: IntArray) -> float:
    """Mean over the slices of the squared distance to the truth, summed over the classes, in [0, 2] (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[true]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def log_loss(probabilities: Float64Array, true: IntArray) -> float:
    """Mean negative log-likelihood in nats; a probability of 0 counts as the smallest normal float64."""
    likelihood = probabilities[np.arange(len(true)), true]
    return float(-np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean())
