"""How far probabilities can be believed. All take probabilities (n, K) that sum to 1 and true classes (n,)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Answers by their confidence in bins of equal width over (0, 1]: ``count``, mean ``confidence`` and ``accuracy``.

    All are (bins,); confidence and accuracy are 0 in an empty bin.
    """

    count: IntArray
    confidence: FloatArray
    accuracy: FloatArray


def reliability(probabilities: FloatArray, true: IntArray, bins: int = BINS) -> Reliability:
    """The points of a reliability diagram; the confidence of an answer is its probability, bins include their top."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == true
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    count = np.bincount(index, minlength=bins)
    share = np.maximum(count, 1)
    return Reliability(
        count.astype(np.int64),
        np.bincount(index, confidence, bins) / share,
        np.bincount(index, right, bins) / share,
    )


def expected_calibration_error(probabilities: FloatArray, true: IntArray, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy, bins weighted by their answers, in [0, 1] (Naeini 2015, Guo 2017)."""
    points = reliability(probabilities, true, bins)
    return float(points.count @ np.abs(points.accuracy - points.confidence) / points.count.sum())


def brier_score(probabilities: FloatArray, true: IntArray) -> float:
    """Mean over the slices of the squared distance to the truth, summed over the classes, in [0, 2] (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[true]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def log_loss(probabilities: FloatArray, true: IntArray) -> float:
    """Mean negative log-likelihood in nats; a probability of 0 counts as the smallest normal float64."""
    likelihood = probabilities[np.arange(len(true)), true]
    return float(-np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean())
