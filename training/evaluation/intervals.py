"""95 % intervals of figures: whole groups (patients, or clusters of near-duplicates) drawn with replacement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import Metric

Rows = npt.NDArray[np.intp]
FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2000


def bootstrap_intervals(
    statistic: Callable[[Rows], FloatArray], groups: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> FloatArray:
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


def _middle(values: FloatArray) -> FloatArray:
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
