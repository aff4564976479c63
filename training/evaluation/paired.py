"""Two classifiers on the same slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from training.evaluation.intervals import bootstrap_intervals
from training.evaluation.predictions import ClassPredictions

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class McNemar:
    """Items that only one of two models answers right, and the exact two-sided p-value of that split."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: BoolArray, second: BoolArray) -> McNemar:
    """Exact McNemar test (McNemar 1947, binomial form); ``first`` and ``second`` (n,) tell which answers were right.

    Where both models err alike, each item that they differ on goes to either with probability 1/2.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
    return McNemar(only_first, only_second, p_value)


@dataclass(frozen=True)
class Comparison:
    """``test`` over slices; ``difference`` of accuracies (first minus second) with its 95 % interval over groups.

    McNemar's test takes slices for independent, which those of one patient are not: its p-value is too small where
    patients have many slices. The interval draws whole groups and does not have that fault.
    """

    count: int
    test: McNemar
    difference: float
    interval: tuple[float, float]


def compare(first: ClassPredictions, second: ClassPredictions) -> Comparison:
    """Compare two models' answers on one split, in whatever order they were saved.

    Raises ValueError where slices or labels differ.
    """
    order, other = np.argsort(first.images), np.argsort(second.images)
    if not np.array_equal(first.images[order], second.images[other]):
        raise ValueError("the two models were not evaluated on the same slices")
    if not np.array_equal(first.names, second.names):
        raise ValueError("the two models were not evaluated with the same labels")
    right = [(item.predicted == item.labels)[rows] for item, rows in ((first, order), (second, other))]
    gain = right[0].astype(np.float64) - right[1]
    groups = first.groups[order].tolist()
    low, high = bootstrap_intervals(lambda rows: gain[rows].mean(keepdims=True), groups)[0].tolist()
    return Comparison(len(gain), mcnemar(*right), float(gain.mean()), (low, high))
