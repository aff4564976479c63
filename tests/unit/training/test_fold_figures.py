"""Figures of out-of-fold answers: the right values, and nothing fitted on what it judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from core.contracts.manifest import Metric
from training.bundle.export import THRESHOLDS
from training.classification.calibration import fit_temperature
from training.evaluation.answers import ClassAnswers, MaskAnswers, joined
from training.folds.figures import (
    Difference,
    calibrated,
    class_differences,
    judge_classes,
    judge_masks,
    label_sets_of,
    mask_differences,
    with_thresholds,
)

pytestmark = pytest.mark.usefixtures("few_draws")

LABELS = ("glioma", "meningioma", "pituitary", "no_tumor")


def class_answers(right: list[bool], folds: list[int], strength: float = 2.0) -> ClassAnswers:
    """Two slices a group; the true label gets ``strength`` where the answer is right, else the next one does."""
    count = len(right)
    labels = np.arange(count) // 2 % 4
    logits = np.zeros((count, 4), np.float32)
    logits[np.arange(count), np.where(right, labels, (labels + 1) % 4)] = strength
    return ClassAnswers(
        images=np.array([f"i{index:02}" for index in range(count)]),
        groups=np.array([f"g{index // 2}" for index in range(count)]),
        folds=np.array(folds),
        logits=logits,
        labels=labels.astype(np.int64),
        sources=np.array(["figshare" if index < count // 2 else "feltrin" for index in range(count)]),
        names=np.array(LABELS),
    )


RIGHT = [True, True, True, False, True, True, False, False] * 2
FOLDS = [0] * 8 + [1] * 8


def value(metrics: tuple[Metric, ...], name: str, data_set: str) -> float:
    (found,) = [metric for metric in metrics if (metric.name, metric.data_set) == (name, data_set)]
    return found.value


def test_a_fold_is_judged_at_the_temperature_of_the_others() -> None:
    answers = class_answers(RIGHT, FOLDS)
    # The second fold is wrong more often, so it asks for a larger temperature.
    answers = replace(answers, logits=np.where(answers.folds[:, None] == 1, 3 * answers.logits, answers.logits))
    item, quantiles = calibrated(answers)
    temperatures = [fit_temperature(answers.logits[part], answers.labels[part]) for part in (slice(8, 16), slice(0, 8))]
    assert temperatures[0] == pytest.approx(3 * temperatures[1], rel=1e-3)
    expected = np.concatenate(
        [softmax(answers.logits[:8] / temperatures[0], axis=1), softmax(answers.logits[8:] / temperatures[1], axis=1)]
    )
    np.testing.assert_allclose(item.probabilities, expected, atol=1e-6)
    assert len(set(quantiles[:8])) == len(set(quantiles[8:])) == 1


def test_one_fold_alone_is_judged_by_halves_of_its_groups() -> None:
    item, _ = calibrated(class_answers(RIGHT, [0] * 16))
    assert len(np.unique(item.probabilities.max(axis=1).round(6))) == 2


def test_figures_of_all_by_source_class_and_patient() -> None:
    judged = judge_classes(class_answers(RIGHT, FOLDS), "four", LABELS)
    assert (judged.slices, judged.groups, judged.folds) == (16, 8, (0, 1))
    assert value(judged.figures, "accuracy", "all slices") == pytest.approx(10 / 16)
    assert value(judged.figures, "accuracy", "slices of figshare") == pytest.approx(5 / 8)
    assert value(judged.figures, "accuracy", "slices with meningioma") == pytest.approx(0.5)
    assert value(judged.figures, "balanced_accuracy", "all slices") == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert value(judged.figures, "accuracy a patient, mean", "slices with no_tumor") == 0.0
    temperature = fit_temperature(class_answers(RIGHT, FOLDS).logits, class_answers(RIGHT, FOLDS).labels)
    assert judged.fitted.temperature == pytest.approx(temperature)
    assert [(patient.name, patient.right, patient.slices) for patient in judged.patients][:3] == [
        ("g3", 0, 2),
        ("g7", 0, 2),
        ("g1", 1, 2),
    ]
    assert judged.patients[0].label == "no_tumor"


def test_fewer_labels_leave_out_the_slices_of_others() -> None:
    fewer = class_answers(RIGHT, FOLDS).restricted(("no_tumor", "glioma"))
    assert len(fewer.labels) == 8
    assert set(fewer.labels.tolist()) == {0, 1}
    assert fewer.logits[0].tolist() == [0.0, 2.0]
    assert list(label_sets_of(LABELS)) == ["tumor-classifier"]
    assert label_sets_of(("cyst", "abscess")) == {"own labels": ("cyst", "abscess")}


def test_a_difference_is_of_the_slices_that_both_answered() -> None:
    first = class_answers(RIGHT, FOLDS)
    second = class_answers([True] * 16, FOLDS).only(np.arange(15, 0, -1))
    found = {item.metric.name: item for item in class_differences(("a", first), ("b", second))}
    assert found["accuracy"].metric.value == pytest.approx(1 - 9 / 15)
    assert found["accuracy"].metric.count == 15
    assert (found["accuracy"].only_first, found["accuracy"].only_second) == (0, 6)
    assert found["accuracy"].p_value == pytest.approx(2 * 0.5**6)
    assert found["accuracy"].verdict == "b"
    assert found["NLL"].metric.value < 0
    assert found["NLL"].verdict == "b"


@pytest.mark.parametrize(
    ("name", "interval", "better"),
    [
        ("accuracy", (0.01, 0.1), "b"),
        ("accuracy", (-0.2, -0.1), "a"),
        ("accuracy", (-0.1, 0.1), "not told apart"),
        ("NLL", (0.01, 0.1), "a"),
        ("NLL", (-0.2, -0.1), "b"),
    ],
)
def test_the_better_of_two(name: str, interval: tuple[float, float], better: str) -> None:
    metric = Metric(name=name, value=0.0, data_set="all slices", split="out-of-fold", count=1, interval=interval)
    assert Difference(first="a", second="b", on="four", metric=metric).verdict == better


def mask_answers(best: dict[int, float], grow: int = 0) -> MaskAnswers:
    """Four patients of two slices; those of a fold are right at its threshold of ``best`` and empty elsewhere."""
    parts = []
    for fold, threshold in best.items():
        outline = np.zeros((8, 8), bool)
        outline[:4] = True
        # Just reaches the threshold, and everywhere else there is enough for the thresholds below it.
        probability = np.where(outline, threshold + 0.01, threshold - 0.04).astype(np.float32)
        probability[:grow] = 0
        names = [f"s{fold}{index}" for index in range(4)]
        patients = [f"p{fold}{index // 2}" for index in range(4)]
        part = MaskAnswers.counted([(probability, outline)] * 4, names, patients, "TCGA-LGG", "flair alone")
        parts.append(replace(part, folds=np.full(4, fold)))
    found = joined(parts)
    assert isinstance(found, MaskAnswers)
    return found


def test_masks_are_judged_at_the_threshold_of_other_folds() -> None:
    answers = mask_answers({0: 0.5, 1: 0.7})
    masks, _ = with_thresholds(answers)
    # At 0.7 nothing of the first fold is left; at 0.5 all of the second is tumour: 2 * 32 / (64 + 32).
    assert masks.dice[:4].tolist() == [0.0] * 4
    np.testing.assert_allclose(masks.dice[4:], 2 / 3)
    alike = mask_answers({0: 0.5, 1: 0.5})
    judged = judge_masks(alike)
    assert judged.fitted.threshold == 0.5
    assert 0.5 in THRESHOLDS
    assert value(judged.figures, "volumetric Dice a patient, mean (flair alone)", "TCGA-LGG") == 1.0
    assert judged.figures[0].count == 4
    assert judged.figures[0].count_unit == "patients"


def test_dice_differs_by_patient() -> None:
    (found,) = mask_differences(("a", mask_answers({0: 0.5, 1: 0.5})), ("b", mask_answers({0: 0.5, 1: 0.5}, 2)))
    # Half of each outline is missed: 2 * 16 / (16 + 32) against 1.
    assert found.metric.value == pytest.approx(2 / 3 - 1)
    assert (found.metric.count, found.metric.count_unit) == (4, "patients")
    assert found.verdict == "a"


def test_answers_of_other_labels_are_not_joined() -> None:
    answers = class_answers(RIGHT, FOLDS)
    with pytest.raises(ValueError, match="same labels"):
        joined([answers, answers.restricted(("no_tumor", "glioma"))])
