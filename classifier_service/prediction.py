"""From the graph's logits to calibrated probabilities and a prediction set.

Plain numbers: for a handful of labels numpy takes several times as long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import Calibration, Manifest


@dataclass(frozen=True, slots=True)
class Prediction:
    """``index`` is the winning class; ``probabilities`` of the K labels sum to 1; the set is ordered by probability."""

    index: int
    probabilities: tuple[float, ...]
    prediction_set: tuple[str, ...]
    coverage: float | None


def softmax(logits: Sequence[float]) -> tuple[float, ...]:
    """Probabilities of K logits, in double precision so that a sure answer is not rounded to exactly 1."""
    largest = max(logits)
    shifted = [math.exp(logit - largest) for logit in logits]
    total = math.fsum(shifted)
    return tuple(value / total for value in shifted)


def label_logits(logits: npt.NDArray[np.floating], manifest: Manifest) -> tuple[float, ...]:
    """Calibrated logits of the manifest's K labels out of the graph's (L,), L >= K.

    Divides by the temperature where the graph has not: bundles that share a graph have a temperature each.
    """
    divisor = manifest.calibration.divisor if manifest.calibration else 1.0
    values = logits.tolist()
    return tuple(values[index] / divisor for index in manifest.logit_indices)


def predict(logits: Sequence[float], labels: Sequence[str], calibration: Calibration | None) -> Prediction:
    """Reads K calibrated logits.

    A label belongs to the prediction set when 1 - probability is at most the conformal quantile. The winner is
    always in it: an empty set would only say that the image is unusual, which the input check says in words.
    Without a quantile the set is the winner alone and promises no coverage.
    """
    probabilities = softmax(logits)
    winner, *others = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
    quantile = calibration.conformal_quantile if calibration is not None else None
    chosen = [winner]
    if quantile is not None:
        chosen += [index for index in others if 1.0 - probabilities[index] <= quantile]
    coverage = calibration.coverage if calibration is not None and quantile is not None else None
    return Prediction(winner, probabilities, tuple(labels[index] for index in chosen), coverage)
