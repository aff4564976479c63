"""From validation logits to honest probabilities: temperature, conformal sets, acceptance thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from training.data.archives import BoolArray, FloatArray, IntArray

COVERAGE = 0.95
ACCEPTANCE = 0.99


def negative_log_likelihood(logits: FloatArray, labels: IntArray) -> float:
    """Mean over the slices; logits (n, K)."""
    return float(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: FloatArray, labels: IntArray) -> float:
    """The divisor of the logits that makes the true labels likeliest (Guo 2017).

    1 where every answer is right: they would be the likelier the smaller it is, without end, and few slices of an easy
    data set would make a network certain of everything.
    """
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    result = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits / math.exp(log_t), labels),
        bounds=(math.log(0.05), math.log(20)),
        method="bounded",
    )
    return math.exp(float(result.x))


def strangeness_of_truth(logits: FloatArray, labels: IntArray) -> FloatArray:
    """1 - p(true label) of calibrated logits (n, K): (n,)."""
    return np.asarray(1 - softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels], np.float32)


def conformal_quantile(scores: FloatArray, coverage: float = COVERAGE) -> float:
    """Split-conformal threshold on ``strangeness_of_truth`` (Sadinle 2019, LAC).

    Sets {label: 1 - p(label) <= threshold} hold the truth with at least ``coverage`` on exchangeable data.
    """
    count = len(scores)
    rank = math.ceil((count + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= count else 1.0


def calibrate(logits: FloatArray, labels: IntArray, groups: Sequence[str]) -> tuple[float, float]:
    """Temperature and conformal threshold from uncalibrated logits (n, K).

    Both see every slice: patients are few, and half of them tell either too little. The scores of each half are
    those at the temperature of the other, which shares no group with it (cross-conformal; Vovk 2015).
    """
    scores = np.empty(len(labels), np.float32)
    halves = group_halves(groups)
    for fitted, scored in (halves, halves[::-1]):
        if scored.any():
            temperature = fit_temperature(logits[fitted], labels[fitted]) if fitted.any() else 1.0
            scores[scored] = strangeness_of_truth(logits[scored] / np.float32(temperature), labels[scored])
    return fit_temperature(logits, labels), conformal_quantile(scores)


def acceptance_threshold(scores: FloatArray, acceptance: float = ACCEPTANCE) -> float:
    """The score that this share of the slices does not exceed."""
    return float(np.quantile(scores, acceptance, method="higher"))


def group_halves(groups: Sequence[str]) -> tuple[BoolArray, BoolArray]:
    """Two halves (n,) that share no group: one to fit on, one for the conformal scores."""
    order = {name: index for index, name in enumerate(sorted(set(groups)))}
    first = np.array([order[name] % 2 == 0 for name in groups])
    return first, ~first
