"""Temperature, conformal sets and acceptance thresholds on made-up logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax

from training.classification.calibration import (
    acceptance_threshold,
    calibrate,
    conformal_quantile,
    fit_temperature,
    group_halves,
    negative_log_likelihood,
    strangeness_of_truth,
)


def made_up(count: int, sharpness: float, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Logits that are honest when divided by ``sharpness``."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (count, 4))
    labels = np.array([generator.choice(4, p=p) for p in softmax(logits, axis=1)], np.int64)
    return (logits * sharpness).astype(np.float32), labels


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_over_and_underconfidence(sharpness: float) -> None:
    logits, labels = made_up(4000, sharpness)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(sharpness, rel=0.1)
    assert negative_log_likelihood(logits / temperature, labels) <= negative_log_likelihood(logits, labels) + 1e-9


def test_answers_that_are_all_right_keep_their_temperature() -> None:
    logits = np.array([[0.4, 0.1], [0.2, 0.3]], np.float32)
    assert fit_temperature(logits, np.array([0, 1])) == 1.0
    # One that is wrong tells how sure the others may be.
    assert fit_temperature(logits, np.array([0, 0])) > 0.05


def test_prediction_sets_hold_the_truth_as_often_as_promised() -> None:
    quantile = conformal_quantile(strangeness_of_truth(*made_up(1000, 1.0)), 0.9)
    fresh, truth = made_up(4000, 1.0, seed=1)
    sets = 1 - softmax(fresh, axis=1) <= quantile
    assert sets[np.arange(len(truth)), truth].mean() == pytest.approx(0.9, abs=0.03)


def test_too_few_slices_give_sets_that_hold_everything() -> None:
    assert conformal_quantile(strangeness_of_truth(*made_up(10, 1.0)), 0.95) == 1.0


def test_temperature_and_sets_come_from_all_patients_and_neither_from_its_own_half_alone() -> None:
    logits, labels = made_up(2000, 2.0)
    groups = [f"p{i % 40:02}" for i in range(2000)]
    temperature, quantile = calibrate(logits, labels, groups)
    assert temperature == fit_temperature(logits, labels)
    fresh, truth = made_up(4000, 2.0, seed=1)
    sets = 1 - softmax(fresh / temperature, axis=1) <= quantile
    assert sets[np.arange(len(truth)), truth].mean() == pytest.approx(0.95, abs=0.02)
    # One half is certain and wrong: it neither sets the temperature that it is scored at, nor is left out.
    first, _ = group_halves(groups)
    logits[first] = -20 * np.eye(4, dtype=np.float32)[labels[first]]
    assert calibrate(logits, labels, groups)[1] > 0.99


def test_one_group_is_enough() -> None:
    logits, labels = made_up(300, 1.0)
    temperature, quantile = calibrate(logits, labels, ["p"] * 300)
    assert temperature == pytest.approx(1.0, rel=0.3)
    assert 0 < quantile < 1


def test_the_acceptance_threshold_accepts_its_share() -> None:
    scores = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert np.mean(scores <= acceptance_threshold(scores, 0.99)) >= 0.99
    assert np.mean(scores <= acceptance_threshold(scores, 0.99)) < 0.995


def test_halves_share_no_group() -> None:
    groups = [f"p{i % 7}" for i in range(50)]
    first, second = group_halves(groups)
    assert np.array_equal(first, ~second)
    assert not {g for g, f in zip(groups, first, strict=True) if f} & {
        g for g, s in zip(groups, second, strict=True) if s
    }
