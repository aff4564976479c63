"""Probabilities and prediction sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier_service.prediction import label_logits, predict, softmax
from core.contracts.manifest import Calibration, Manifest
from tests.fixtures.models import classifier_manifest

LABELS = ("glioma", "meningioma", "pituitary", "no_tumor")

logit_rows = st.lists(st.floats(-80, 80, width=32), min_size=4, max_size=4)


def logits_of(*probabilities: float) -> list[float]:
    return [math.log(probability) for probability in probabilities]


def conformal(quantile: float) -> Calibration:
    return Calibration(temperature=1.3, conformal_quantile=quantile, coverage=0.95)


@given(logit_rows)
def test_probabilities_sum_to_one(logits: list[float]) -> None:
    probabilities = softmax(logits)
    assert math.isclose(sum(probabilities), 1.0, abs_tol=1e-12)
    assert min(probabilities) >= 0
    assert probabilities[logits.index(max(logits))] == max(probabilities)


def test_softmax_by_hand() -> None:
    assert softmax([0.0, math.log(3.0)]) == pytest.approx([0.25, 0.75])


@given(logit_rows, st.floats(0, 1))
def test_the_set_follows_its_definition_and_holds_the_winner(logits: list[float], quantile: float) -> None:
    prediction = predict(logits, LABELS, conformal(quantile))
    expected = {label for label, p in zip(LABELS, prediction.probabilities, strict=True) if 1.0 - p <= quantile}
    assert set(prediction.prediction_set) == expected | {LABELS[prediction.index]}
    assert prediction.prediction_set[0] == LABELS[prediction.index]


def test_a_sure_answer_stands_alone_and_a_doubtful_one_does_not() -> None:
    sure = predict(logits_of(0.01, 0.97, 0.01, 0.01), LABELS, conformal(0.7))
    doubtful = predict(logits_of(0.35, 0.45, 0.15, 0.05), LABELS, conformal(0.7))
    assert sure.prediction_set == ("meningioma",)
    assert doubtful.prediction_set == ("meningioma", "glioma")
    assert doubtful.coverage == 0.95


def test_the_set_is_never_empty() -> None:
    prediction = predict(logits_of(0.3, 0.25, 0.25, 0.2), LABELS, conformal(0.1))
    assert prediction.prediction_set == ("glioma",)


@pytest.mark.parametrize("calibration", [None, Calibration(temperature=1.0, coverage=0.95)])
def test_without_a_quantile_nothing_is_promised(calibration: Calibration | None) -> None:
    prediction = predict(logits_of(0.3, 0.5, 0.1, 0.1), LABELS, calibration)
    assert prediction.prediction_set == ("meningioma",)
    assert prediction.coverage is None


def manifest(**changes: object) -> Manifest:
    file = {"name": "model.onnx", "sha256": "0" * 64, "variant": "reference", "size_bytes": 1}
    return Manifest.model_validate({**classifier_manifest(), "files": [file], **changes})


LOGITS = np.array([1.0, 2.0, 3.0, 4.0, 50.0, 60.0], np.float32)


def test_the_temperature_of_the_graph_is_not_applied_again() -> None:
    assert label_logits(LOGITS[:4], manifest()) == (1.0, 2.0, 3.0, 4.0)


def test_the_temperature_of_the_manifest_is_applied() -> None:
    calibration = Calibration(temperature=4.0, temperature_in_graph=False)
    assert label_logits(LOGITS[:4], manifest(calibration=calibration)) == (0.25, 0.5, 0.75, 1.0)


def test_logits_that_are_no_label_take_no_probability() -> None:
    chosen = label_logits(LOGITS, manifest(label_indices=[3, 0, 1, 2]))
    assert chosen == (4.0, 1.0, 2.0, 3.0)
    prediction = predict(chosen, LABELS, None)
    assert prediction.index == 0
    assert sum(prediction.probabilities) == pytest.approx(1.0)
    # Softmax over all logits and then divided by what the four have is the same by hand.
    every = np.exp(LOGITS.astype(np.float64))[[3, 0, 1, 2]]
    assert prediction.probabilities == pytest.approx((every / every.sum()).tolist(), rel=1e-6)


def test_without_calibration_logits_stay_as_they_are() -> None:
    assert label_logits(LOGITS[:4], manifest(calibration=None)) == (1.0, 2.0, 3.0, 4.0)
