"""Figures of merit, and their bootstrap intervals over groups (patients, or clusters of near-duplicates)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]

RESAMPLES = 2000


def dice(predicted: BoolArray, true: BoolArray) -> float:
    """2 |A and B| / (|A| + |B|) over arrays of any shape; 1 when both are empty."""
    total = int(predicted.sum()) + int(true.sum())
    return 1.0 if total == 0 else 2 * int((predicted & true).sum()) / total


def volumetric_dice(predicted: BoolArray, true: BoolArray, patients: Sequence[str]) -> dict[str, float]:
    """Dice over all slices (n, h, w) of each patient together."""
    names = np.asarray(patients)
    return {name: dice(predicted[names == name], true[names == name]) for name in sorted(set(patients))}


def accuracy(predicted: IntArray, true: IntArray) -> float:
    """Share of right answers."""
    return float(np.mean(predicted == true))


def balanced_accuracy(predicted: IntArray, true: IntArray) -> float:
    """Mean over the present classes of the share of right answers."""
    return float(np.mean([np.mean(predicted[true == label] == label) for label in np.unique(true)]))


def bootstrap_interval(
    statistic: Callable[[npt.NDArray[np.intp]], float],
    groups: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % interval of ``statistic(rows)`` when whole groups are drawn with replacement."""
    names = np.asarray(groups)
    members = [np.flatnonzero(names == name) for name in sorted(set(groups))]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(members), len(members))
        values.append(statistic(np.concatenate([members[index] for index in drawn])))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
