"""How sure a figure is: its 95 % interval, and whether two classifiers differ on the same slices.

Intervals draw whole groups (patients, or clusters of near-duplicates) with replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from core.contracts.manifest import Metric
from training.data.archives import BoolArray, Float64Array
from training.evaluation.predictions import ClassPredictions

Rows = npt.NDArray[np.intp]

RESAMPLES = 2000


def bootstrap_intervals(
    statistic: Callable[[Rows], Float64Array], groups: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> Float64Array:
    """95 % intervals (m, 2) of ``statistic(rows)``, (m,) figures of the chosen rows, from one series of draws.

    ``groups`` names the group of each row. A resample in which a figure is undefined (NaN, as the recall of a class
    that was not drawn) is left out for that figure; NaN where it never was defined.
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(index == group) for group in range(int(index.max()) + 1)]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(members), len(members))
        values.append(statistic(np.concatenate([members[group] for group in drawn])))
    return np.array([_middle(column) for column in np.array(values).T])


def _middle(values: Float64Array) -> Float64Array:
    defined = values[~np.isnan(values)]
    return np.percentile(defined, [2.5, 97.5]) if defined.size else np.full(2, np.nan)


def measured(
    figures: Callable[[Rows], Mapping[str, float]],
    groups: Sequence[str],
    data_set: str,
    split: str,
    count_unit: str = "slices",
    counts: Mapping[str, int] | None = None,
    resamples: int = RESAMPLES,
) -> list[Metric]:
    """Figures of all rows with their intervals; what is undefined over all rows is left out.

    ``figures`` gives the same names for any rows. ``counts``: what a figure rests on where that is not every row.
    """
    everything = figures(np.arange(len(groups)))
    intervals = bootstrap_intervals(
        lambda rows: np.fromiter(figures(rows).values(), np.float64), groups, resamples=resamples
    )
    return [
        Metric(
            name=name,
            value=value,
            data_set=data_set,
            split=split,
            count=(counts or {}).get(name, len(groups)),
            count_unit=count_unit,
            interval=(float(low), float(high)),
        )
        for (name, value), (low, high) in zip(everything.items(), intervals, strict=True)
        if not np.isnan(value)
    ]


def averaged(
    columns: Mapping[str, npt.ArrayLike],
    groups: Sequence[str],
    data_set: str,
    split: str,
    count_unit: str = "slices",
    resamples: int = RESAMPLES,
) -> list[Metric]:
    """``measured`` of the mean of each column (n,)."""
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}

    def means(rows: Rows) -> dict[str, float]:
        return {name: float(column[rows].mean()) for name, column in values.items()}

    return measured(means, groups, data_set, split, count_unit, resamples=resamples)


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
