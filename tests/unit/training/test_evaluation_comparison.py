"""Two models on the same slices, and the files that their answers are kept in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.evaluation.intervals import compare, mcnemar
from training.evaluation.mask_figures import count_masks
from training.evaluation.masks import volumetric_dice
from training.evaluation.predictions import ClassPredictions, MaskPredictions


def answered(right: npt.NDArray[np.bool_], slices_a_patient: int = 1) -> ClassPredictions:
    """Answers between two labels on as many slices, right where told."""
    count = len(right)
    labels = np.arange(count) % 2
    answers = np.where(right, labels, 1 - labels)
    return ClassPredictions(
        probabilities=np.eye(2)[answers] * 0.8 + 0.1,
        labels=labels,
        groups=np.array([f"p{index // slices_a_patient}" for index in range(count)]),
        sources=np.full(count, "figshare"),
        images=np.array([f"slice{index:03d}" for index in range(count)]),
        names=np.array(["glioma", "meningioma"]),
    )


def test_mcnemar_by_hand() -> None:
    first = np.array([True] * 10 + [True] + [False] * 5 + [False] * 4)
    second = np.array([True] * 10 + [False] + [True] * 5 + [False] * 4)
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second) == (1, 5)
    # Six coins: none or one head, on either side: 2 (1 + 6) / 2^6 = 14 / 64.
    assert result.p_value == pytest.approx(14 / 64)
    assert mcnemar(second, first).p_value == pytest.approx(14 / 64)


def test_models_that_never_differ() -> None:
    right = np.array([True, False, True])
    assert mcnemar(right, right).p_value == 1
    # Three against three says nothing: all 2^6 outcomes are as extreme.
    assert mcnemar(np.arange(6) < 3, np.arange(6) >= 3).p_value == 1


def test_order_of_the_files_does_not_matter() -> None:
    first, second = answered(np.arange(40) % 4 > 0), answered(np.arange(40) % 2 > 0)
    result = compare(first, second.only(np.random.default_rng(0).permutation(40)))
    # Right are 30 and 20 of 40; every slice that the second has right, the first has right too.
    assert (result.test.only_first, result.test.only_second) == (10, 0)
    assert result.test.p_value == pytest.approx(2 / 2**10)
    assert result.difference == pytest.approx(10 / 40)
    assert result.interval[0] < 0.25 < result.interval[1]


def test_alike_slices_of_a_patient_widen_the_interval_but_not_the_test() -> None:
    """Ten patients with twenty equal slices each: what differs is one patient or three, not sixty slices."""
    first, second = np.repeat(np.arange(10) != 0, 20), np.repeat(np.arange(10) > 3, 20)
    by_patient, by_slice = (compare(answered(first, n), answered(second, n)) for n in (20, 1))
    assert by_patient.test == by_slice.test
    assert by_patient.test.p_value < 1e-12
    width, narrow = (result.interval[1] - result.interval[0] for result in (by_patient, by_slice))
    assert width > 2 * narrow


def test_other_slices_or_labels_are_refused() -> None:
    item = answered(np.ones(6, bool))
    with pytest.raises(ValueError, match="same slices"):
        compare(item, item.only(np.arange(5)))
    with pytest.raises(ValueError, match="same labels"):
        compare(item, replace(item, names=np.array(["glioma", "pituitary"])))


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    item = answered(np.arange(9) % 3 > 0)
    item.save(tmp_path / "answers.npz")
    back = ClassPredictions.load(tmp_path / "answers.npz")
    for name in ("probabilities", "labels", "groups", "sources", "images", "names"):
        np.testing.assert_array_equal(getattr(back, name), getattr(item, name))


def test_masks_come_back_with_the_dice_of_each_patient(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    true, predicted = generator.random((2, 6, 9, 7)) < 0.3
    true[2] = False
    patients = ["b", "b", "a", "a", "a", "c"]
    names = [f"slice{index}" for index in range(6)]
    item = count_masks(zip(predicted, true, strict=True), names, patients, "drawn", "flair alone")
    assert np.isnan(item.hausdorff).tolist() == [False, False, True, False, False, False]
    item.save(tmp_path / "masks.npz")
    back = MaskPredictions.load(tmp_path / "masks.npz")
    np.testing.assert_array_equal(back.dice, item.dice)
    assert back.images.tolist() == names
    volumes = back.by_patient()
    scores = dict(zip(volumes.patients.tolist(), volumes.dice.tolist(), strict=True))
    assert scores == pytest.approx(volumetric_dice(predicted, true, patients))
