"""The worst answers on a split by name, so that a reader with the data can look at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from training.evaluation.mask_figures import HEALTHY, SINGLE_SLICES
from training.evaluation.predictions import ClassPredictions, MaskPredictions
from training.records import Failure

# Of a classifier, and of a segmenter in each data set.
CLASS_FAILURES: Final = 6
MASK_FAILURES: Final = 3


def class_failures(item: ClassPredictions) -> tuple[Failure, ...]:
    """The most certain wrong answers, the first of each patient or cluster."""
    predicted, certainty = item.predicted, item.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != item.labels)
    found = [
        Failure(
            name=str(item.images[row]),
            data_set=str(item.sources[row]),
            truth=str(item.names[item.labels[row]]),
            answer=f"{item.names[predicted[row]]}, {certainty[row]:.2f}",
        )
        for row in _first_of_each(wrong[np.argsort(-certainty[wrong], kind="stable")], item.groups.tolist())
    ]
    return tuple(found[:CLASS_FAILURES])


def mask_failures(item: MaskPredictions) -> tuple[Failure, ...]:
    """Of each data set, in the first view of it: least Dice of a tumour, or largest outline where there is none.

    By patient where whole patients are outlined; of single slices the first of each patient.
    """
    pairs = list(zip(item.data_sets.tolist(), item.views.tolist(), strict=True))
    views = dict(reversed(pairs))
    return tuple(
        failure
        for data_set in dict.fromkeys(item.data_sets.tolist())
        for failure in _of_data_set(item.shown(views[data_set], data_set))
    )


def _of_data_set(part: MaskPredictions) -> list[Failure]:
    data_set, view = str(part.data_sets[0]), str(part.views[0])
    rows = part if data_set in SINGLE_SLICES else part.by_patient()
    healthy = data_set == HEALTHY
    order = np.argsort(-rows.predicted if healthy else rows.dice, kind="stable")
    wrong = [row for row in order if healthy != bool(rows.has_tumour[row]) and rows.dice[row] < 1]
    found = [
        Failure(
            name=str(rows.images[row]) or str(rows.patients[row]),
            data_set=f"{data_set} ({view})",
            truth="no tumour" if healthy else f"{rows.true[row]} outlined",
            answer=f"{rows.predicted[row]} outlined" + ("" if healthy else f", Dice {rows.dice[row]:.2f}"),
        )
        for row in _first_of_each(wrong, rows.patients.tolist())
    ]
    return found[:MASK_FAILURES]


def _first_of_each(rows: Iterable[int], groups: Sequence[str]) -> Iterator[int]:
    seen: set[str] = set()
    for row in rows:
        if groups[row] not in seen:
            seen.add(groups[row])
            yield row
