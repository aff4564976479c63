"""Figures of merit and their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from training.evaluation.intervals import Rows, bootstrap_intervals
from training.evaluation.masks import dice, volumetric_dice
from training.evaluation.rates import accuracy, balanced_accuracy


def bootstrap_interval(statistic: Callable[[Rows], float], groups: Sequence[str]) -> tuple[float, float]:
    """Of one figure."""
    low, high = bootstrap_intervals(lambda rows: np.array([statistic(rows)]), groups)[0].tolist()
    return low, high


def test_dice() -> None:
    left = np.array([[True, True], [False, False]])
    right = np.array([[True, False], [True, False]])
    nothing = np.zeros((2, 2), bool)
    assert dice(left, right) == pytest.approx(0.5)
    assert dice(left, left) == 1.0
    assert dice(left, nothing) == 0.0
    assert dice(nothing, nothing) == 1.0


def test_volumetric_dice_pools_the_slices_of_a_patient() -> None:
    true = np.zeros((3, 10, 10), bool)
    true[0, :4] = True
    predicted = np.zeros_like(true)
    predicted[0, :4] = True
    predicted[1, :1] = True
    scores = volumetric_dice(predicted, true, ["a", "a", "b"])
    # 40 right pixels and 10 wrong ones; a mean over slices would say (1 + 0) / 2.
    assert scores == {"a": pytest.approx(80 / 90), "b": 1.0}


def test_balanced_accuracy_weighs_classes_alike() -> None:
    true = np.array([0, 0, 0, 1])
    predicted = np.array([0, 0, 0, 0])
    assert accuracy(predicted, true) == 0.75
    assert balanced_accuracy(predicted, true) == 0.5


def test_intervals_hold_the_value_and_repeat() -> None:
    values = np.random.default_rng(1).normal(size=200)
    groups = [f"p{i // 4}" for i in range(200)]
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), groups)
    assert low < values.mean() < high
    assert bootstrap_interval(lambda rows: float(values[rows].mean()), groups) == (low, high)


def test_alike_slices_of_one_patient_do_not_narrow_the_interval() -> None:
    """Twenty copies of ten patients tell no more than the ten patients do."""
    patients = np.random.default_rng(2).normal(size=10)
    copies = np.repeat(patients, 20)
    names = [f"p{i // 20}" for i in range(200)]
    by_patient = bootstrap_interval(lambda rows: float(copies[rows].mean()), names)
    by_slice = bootstrap_interval(lambda rows: float(copies[rows].mean()), [str(i) for i in range(200)])
    alone = bootstrap_interval(lambda rows: float(patients[rows].mean()), [str(i) for i in range(10)])
    assert by_patient[1] - by_patient[0] > 2 * (by_slice[1] - by_slice[0])
    assert by_patient[1] - by_patient[0] == pytest.approx(alone[1] - alone[0], rel=0.2)
