"""The formulas of classification and overlap on examples worked by hand, and what holds between them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.intervals import bootstrap_intervals, measured
from training.evaluation.mask_figures import count_masks, mask_metrics
from training.evaluation.masks import dice, iou_of_counts
from training.evaluation.rates import (
    Counts,
    accuracy,
    area_under_roc,
    balanced_accuracy,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    one_vs_rest_areas,
    reliability,
)


def iou(predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    return float(iou_of_counts(predicted.sum(), true.sum(), (predicted & true).sum()))


# Rows are the truth: 6 slices of class 0, 6 of class 1, 4 of class 2.
#
#           answer 0  1  2
#   truth 0        5  1  0
#   truth 1        2  3  1
#   truth 2        0  0  4
MATRIX = np.array([[5, 1, 0], [2, 3, 1], [0, 0, 4]], np.int64)
TRUE = np.repeat([0, 0, 1, 1, 1, 2], [5, 1, 2, 3, 1, 4]).astype(np.int64)
ANSWERED = np.repeat([0, 1, 0, 1, 2, 2], [5, 1, 2, 3, 1, 4]).astype(np.int64)


def test_counts_of_each_class_against_the_rest() -> None:
    np.testing.assert_array_equal(confusion_matrix(ANSWERED, TRUE, 3), MATRIX)
    counts = Counts.of_confusion(MATRIX)
    # TP: the diagonal. FN: the rest of the row. FP: the rest of the column. TN: what is left of 16.
    assert counts.tp.tolist() == [5, 3, 4]
    assert counts.fn.tolist() == [1, 3, 0]
    assert counts.fp.tolist() == [2, 1, 1]
    assert counts.tn.tolist() == [8, 9, 11]


def test_rates_of_each_class() -> None:
    counts = Counts.of_confusion(MATRIX)
    # ACC = (TP + TN) / 16: (5 + 8) / 16, (3 + 9) / 16, (4 + 11) / 16
    np.testing.assert_allclose(counts.accuracy, [13 / 16, 12 / 16, 15 / 16])
    # SEN = recall = TP / (TP + FN): 5 / (5 + 1), 3 / (3 + 3), 4 / (4 + 0)
    np.testing.assert_allclose(counts.recall, [5 / 6, 1 / 2, 1])
    # SPE = TN / (TN + FP): 8 / (8 + 2), 9 / (9 + 1), 11 / (11 + 1)
    np.testing.assert_allclose(counts.specificity, [8 / 10, 9 / 10, 11 / 12])
    # precision = TP / (TP + FP): 5 / (5 + 2), 3 / (3 + 1), 4 / (4 + 1)
    np.testing.assert_allclose(counts.precision, [5 / 7, 3 / 4, 4 / 5])
    # F1 = 2 P R / (P + R); class 1: 2 (3/4) (1/2) / (3/4 + 1/2) = (3/4) / (5/4) = 3/5
    # 2 TP / (2 TP + FP + FN): 10 / 13, 6 / 10, 8 / 9
    np.testing.assert_allclose(counts.f1, [10 / 13, 3 / 5, 8 / 9])


def test_means_over_the_classes() -> None:
    counts = Counts.of_confusion(MATRIX)
    # 12 of 16 are right; the mean of the recalls is (5/6 + 1/2 + 1) / 3 = (14/6) / 3 = 7/9.
    assert accuracy(ANSWERED, TRUE) == 12 / 16
    assert balanced_accuracy(ANSWERED, TRUE) == pytest.approx(7 / 9)
    assert counts.macro(counts.recall) == pytest.approx(7 / 9)
    # (5/7 + 3/4 + 4/5) / 3 = (100 + 105 + 112) / 140 / 3 = 317 / 420
    assert counts.macro(counts.precision) == pytest.approx(317 / 420)


def test_what_cannot_be_said_of_a_class() -> None:
    # Class 1 is present twice and never answered, class 2 is neither present nor answered, class 3 is answered once.
    counts = Counts.of_confusion(confusion_matrix(np.array([0, 0, 0, 3]), np.array([0, 1, 1, 0]), 4))
    np.testing.assert_array_equal(counts.recall, [1 / 2, 0, np.nan, np.nan])
    np.testing.assert_array_equal(counts.precision, [1 / 3, 0, np.nan, 0])
    # 2 TP / (2 TP + FP + FN): 2 / (2 + 2 + 1), 0 / (0 + 0 + 2), 0 / 0, 0 / (0 + 1 + 0)
    np.testing.assert_array_equal(counts.f1, [2 / 5, 0, np.nan, 0])
    # Only what is present in the truth enters a macro mean: (1/3 + 0) / 2.
    assert counts.macro(counts.precision) == pytest.approx(1 / 6)
    alone = Counts.of_confusion(np.array([[3, 0], [0, 0]]))
    np.testing.assert_array_equal(alone.specificity, [np.nan, 1])


def test_area_counts_pairs_and_half_of_ties() -> None:
    scores = np.array([0.9, 0.6, 0.4, 0.6, 0.3, 0.2, 0.1])
    positive = np.array([True, True, True, False, False, False, False])
    # Of 3 x 4 pairs 0.9 wins 4; 0.6 wins 3 and ties with one, 3.5; 0.4 wins 3: 10.5 / 12.
    assert area_under_roc(scores, positive) == 10.5 / 12
    assert math.isnan(area_under_roc(scores, np.ones(7, bool)))


def test_areas_of_each_class() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.2, 0.5, 0.3]])
    # Class 0 (rows 0, 3): 0.7 beats 0.1 and 0.5, 0.2 beats 0.1 alone: 3 / 4. Class 1 (row 1) 0.6 beats all: 1.
    # Class 2 (row 2): 0.4 beats all: 1.
    np.testing.assert_array_equal(one_vs_rest_areas(probabilities, np.array([0, 1, 2, 0])), [3 / 4, 1, 1])


def test_two_masks() -> None:
    true = np.zeros((4, 4), bool)
    true[0, :4] = true[1, 0] = True
    predicted = np.zeros((4, 4), bool)
    predicted[0, 1:] = predicted[1, :3] = True
    # 16 pixels; truth 5, answer 6. Common are (0, 1), (0, 2), (0, 3) and (1, 0): TP 4, FP 2, FN 1, TN 9.
    # Dice = DSC = SI = 2 x 4 / (8 + 2 + 1), IoU = 4 / (4 + 2 + 1)
    assert dice(predicted, true) == 8 / 11
    assert iou(predicted, true) == 4 / 7
    # Of tumour as a class of pixels SEN is 4 / 5, SPE 9 / 11, precision 4 / 6, ACC 13 / 16, and F1 is Dice.
    matrix = confusion_matrix(predicted.astype(np.int64).ravel(), true.astype(np.int64).ravel(), 2)
    np.testing.assert_array_equal(matrix, [[9, 2], [1, 4]])
    counts = Counts.of_confusion(matrix)
    assert counts.recall[1] == 4 / 5
    assert counts.specificity[1] == 9 / 11
    assert counts.precision[1] == 4 / 6
    assert counts.accuracy[1] == 13 / 16
    assert counts.f1[1] == dice(predicted, true)


def test_empty_masks() -> None:
    nothing, something = np.zeros((2, 3), bool), np.eye(2, 3, dtype=bool)
    assert dice(nothing, nothing) == iou(nothing, nothing) == 1
    assert dice(nothing, something) == iou(something, nothing) == 0


def test_slices_with_and_without_tumour_are_judged_apart() -> None:
    true = np.zeros((5, 2, 2), bool)
    true[0] = true[1, 0] = True
    predicted = np.zeros_like(true)
    predicted[0, 0] = predicted[3, 0, 0] = True
    names = [str(place) for place in range(5)]

    def figures(count: int) -> dict[str, float]:
        pairs = zip(predicted[:count], true[:count], strict=True)
        item = count_masks(pairs, names[:count], names[:count], "somewhere", "x")
        return {metric.name: metric.value for metric in mask_metrics(item, "val")}

    # Slice 0: 2 of 4 pixels, Dice 4 / 6. Slice 1 is missed: 0. Of slices 2, 3 and 4 without tumour one gets some.
    assert figures(5)["Dice on tumour slices (x)"] == pytest.approx((2 / 3 + 0) / 2)
    assert figures(5)["false-positive slices, share (x)"] == pytest.approx(1 / 3)
    assert "false-positive slices, share (x)" not in figures(2)


def test_calibration_error() -> None:
    sure, unsure = [0.9, 0.06, 0.04], [0.2, 0.62, 0.18]
    probabilities = np.array([sure, sure, sure, sure, unsure, unsure])
    true = np.array([0, 0, 0, 2, 1, 1])
    # Four answers with 0.9, three of them right: |3/4 - 0.9| = 0.15. Two with 0.62, both right: 0.38.
    # (4 x 0.15 + 2 x 0.38) / 6 = 1.36 / 6
    assert expected_calibration_error(probabilities, true) == pytest.approx(1.36 / 6)
    points = reliability(probabilities, true)
    assert len(points.count) == 15
    # 0.62 x 15 = 9.3 and 0.9 x 15 = 13.5: the tenth and the fourteenth bin.
    assert np.flatnonzero(points.count).tolist() == [9, 13]
    assert points.confidence[[9, 13]] == pytest.approx([0.62, 0.9])
    # In a single bin right answers make up for wrong ones: 5/6 - (4 x 0.9 + 2 x 0.62) / 6 = 0.16 / 6
    assert expected_calibration_error(probabilities, true, bins=1) == pytest.approx(0.16 / 6)


def test_bins_hold_their_top_and_certainty() -> None:
    points = reliability(np.array([[0.5, 0.5], [1.0, 0.0], [0.51, 0.49]]), np.array([0, 0, 0]), bins=2)
    assert points.count.tolist() == [1, 2]


def test_brier_and_log_loss() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    true = np.array([0, 2])
    # (0.3^2 + 0.2^2 + 0.1^2) + (0.1^2 + 0.6^2 + 0.7^2) = 0.14 + 0.86, over two slices
    assert brier_score(probabilities, true) == pytest.approx(0.5)
    assert log_loss(probabilities, true) == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2)
    assert math.isfinite(log_loss(np.array([[1.0, 0.0]]), np.array([1])))


def random_masks(seed: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Two masks of every density, empty ones included."""
    generator = np.random.default_rng(seed)
    first, second = (generator.random((5, 6)) < generator.choice([0.0, 0.1, 0.5, 0.9]) for _ in range(2))
    return first, second


@given(st.integers(0, 10_000))
def test_dice_follows_from_iou(seed: int) -> None:
    predicted, true = random_masks(seed)
    assert dice(predicted, true) == dice(true, predicted)
    overlap = iou(predicted, true)
    assert dice(predicted, true) == pytest.approx(2 * overlap / (1 + overlap))


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=2, max_size=40).filter(
        lambda items: len({positive for _, positive in items}) == 2
    )
)
def test_area_is_what_scikit_learn_says_and_turns_round(items: list[tuple[float, bool]]) -> None:
    from sklearn import metrics

    scores, positive = np.array([score for score, _ in items]), np.array([kind for _, kind in items])
    area = area_under_roc(scores, positive)
    assert area == pytest.approx(metrics.roc_auc_score(positive, scores))
    assert area_under_roc(-scores, positive) == pytest.approx(1 - area)


@given(st.integers(0, 10_000))
def test_rates_are_what_scikit_learn_says(seed: int) -> None:
    from sklearn import metrics

    generator = np.random.default_rng(seed)
    true = np.concatenate([np.arange(4), generator.integers(0, 4, 20)])
    predicted = generator.integers(0, 4, 24)
    counts = Counts.of_confusion(confusion_matrix(predicted, true, 4))
    expected = metrics.precision_recall_fscore_support(true, predicted, labels=range(4), zero_division=0.0)
    for own, other in zip((counts.precision, counts.recall, counts.f1), expected, strict=False):
        np.testing.assert_allclose(own, other)
        assert counts.macro(own) == pytest.approx(np.mean(other))


def test_intervals_leave_out_draws_without_the_class() -> None:
    """Recall of a class that one of four patients has is undefined where that patient is not drawn."""
    true = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    right = np.array([1, 1, 1, 0, 1, 0, 1, 0], float)
    groups = ["a", "a", "b", "b", "c", "c", "d", "d"]

    def recalls(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        own = [right[rows][true[rows] == label] for label in (0, 1, 2)]
        return np.array([values.mean() if values.size else np.nan for values in own])

    first, second, third = bootstrap_intervals(recalls, groups, resamples=200)
    assert 0.5 <= first[0] < first[1] <= 1
    assert second.tolist() == [0.5, 0.5]
    assert np.isnan(third).all()


def test_undefined_figures_are_not_reported() -> None:
    metrics = measured(
        lambda rows: {"rows": float(len(rows)), "absent": math.nan},
        ["a", "b"],
        "drawn",
        "val",
        counts={"rows": 7},
    )
    assert [(metric.name, metric.value, metric.interval) for metric in metrics] == [("rows", 2, (2, 2))]
    assert metrics[0].count == 7
