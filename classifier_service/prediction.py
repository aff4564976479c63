"""From the graph's logits to calibrated probabilities and a prediction set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import Calibration, Manifest


@dataclass(frozen=True, slots=True)
class Prediction:
    """``index`` is the winning class; ``probabilities`` (K,) sum to 1; the set is ordered by probability."""

    index: int
    probabilities: npt.NDArray[np.float64]
    prediction_set: tuple[str, ...]
    coverage: float | None


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Probabilities (K,) of logits (K,), in float64 so that a sure answer is not rounded to exactly 1."""
    shifted = np.exp(logits.astype(np.float64) - np.max(logits))
    return np.asarray(shifted / shifted.sum(), np.float64)


def label_logits(logits: npt.NDArray[np.floating], manifest: Manifest) -> npt.NDArray[np.float64]:
    """Calibrated logits (K,) of the manifest's labels out of the graph's (L,), L >= K.

    Divides by the temperature where the graph has not: bundles that share a graph have a temperature each.
    """
    chosen = logits[list(manifest.logit_indices)].astype(np.float64)
    return np.asarray(chosen / (manifest.calibration.divisor if manifest.calibration else 1.0), np.float64)


def predict(logits: npt.NDArray[np.floating], labels: Sequence[str], calibration: Calibration | None) -> Prediction:
    """Reads calibrated logits (K,).

    A label belongs to the prediction set when 1 - probability is at most the conformal quantile. The winner is
    always in it: an empty set would only say that the image is unusual, which the input check says in words.
    Without a quantile the set is the winner alone and promises no coverage.
    """
    probabilities = softmax(logits)
    winner = int(np.argmax(probabilities))
    quantile = calibration.conformal_quantile if calibration is not None else None
    by_probability = np.argsort(-probabilities, kind="stable").tolist()
    chosen = [
        labels[index]
        for index in by_probability
        if index == winner or (quantile is not None and 1.0 - probabilities[index] <= quantile)
    ]
    coverage = calibration.coverage if calibration is not None and quantile is not None else None
    return Prediction(winner, probabilities, tuple(chosen), coverage)
