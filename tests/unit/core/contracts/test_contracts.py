"""The wire types: closed, frozen, and as docs/api.md shows them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core.contracts import DISCLAIMER
from core.contracts.classification import Classification
from core.contracts.manifest import Manifest, VolumePreprocessing
from core.contracts.problem import Problem
from core.contracts.segmentation import Segmentation
from tests.fixtures.volume_models import validated

MODEL = {"name": "tumor-classifier", "version": "1", "sha256": "0" * 64, "provider": "CPUExecutionProvider"}
CLASSIFICATION: dict[str, Any] = {
    "label": "meningioma",
    "probability": 0.93,
    "probabilities": {"glioma": 0.03, "meningioma": 0.93, "pituitary": 0.02, "no_tumor": 0.02},
    "prediction_set": ["meningioma"],
    "coverage": 0.95,
    "input_check": {"in_distribution": True, "score": 0.81, "reasons": []},
    "model": {**MODEL, "variant": "int8"},
    "timing_ms": {"decode": 2.1, "queue": 0.3, "inference": 21.7},
    "request_id": "0a1b",
}
SEGMENTATION: dict[str, Any] = {
    "size": [4, 4],
    "tumor_pixels": 4,
    "area_mm2": None,
    "mask": {"size": [4, 4], "counts": "52222"},
    "contours": [[[1, 1], [2, 1], [2, 2], [1, 2]]],
    "bounding_box": [1, 1, 2, 2],
    "max_probability": 0.9,
    "threshold": 0.5,
    "sequences": ["flair"],
    "input_check": {"in_distribution": True, "score": 0.81, "reasons": []},
    "model": {**MODEL, "name": "tumor-segmenter", "variant": "int8"},
    "timing_ms": {"decode": 2.1, "queue": 0.3, "inference": 21.7},
    "request_id": "0a1b",
}
MANIFEST: dict[str, Any] = {
    "name": "tumor-classifier",
    "version": "1",
    "task": "classification",
    "architecture": "ResNet50",
    "title": "Four classes",
    "files": [{"name": "model.onnx", "sha256": "a" * 64, "variant": "reference", "size_bytes": 1}],
    "preprocessing": {"kind": "classification", "size": 224},
    "labels": ["glioma", "meningioma", "pituitary", "no_tumor"],
    "licence": "Apache-2.0",
}


@pytest.mark.parametrize(("contract", "example"), [(Classification, CLASSIFICATION), (Segmentation, SEGMENTATION)])
def test_answers_round_trip_and_say_research_use_only(contract: Any, example: dict[str, Any]) -> None:
    answer = contract.model_validate(example)
    assert answer.disclaimer == DISCLAIMER == "Research use only. Not a medical device."
    assert contract.model_validate_json(answer.model_dump_json()) == answer


@pytest.mark.parametrize(("contract", "example"), [(Classification, CLASSIFICATION), (Manifest, MANIFEST)])
def test_an_unknown_field_is_refused(contract: Any, example: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="surprise"):
        contract.model_validate({**example, "surprise": 1})


def test_answers_are_immutable() -> None:
    answer = Classification.model_validate(CLASSIFICATION)
    with pytest.raises(ValidationError, match="frozen"):
        answer.label = "glioma"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"task": "segmentation"}, "preprocessing is for classification"),
        ({"schema_version": 2}, "schema_version"),
        ({"labels": []}, "labels"),
        ({"files": []}, "files"),
        ({"name": "../evil"}, "name"),
        ({"files": [{"name": "../m.onnx", "sha256": "a" * 64, "variant": "int8", "size_bytes": 1}]}, "name"),
        ({"files": [{"name": "m.onnx", "sha256": "short", "variant": "int8", "size_bytes": 1}]}, "sha256"),
        ({"validated_dice": {"enhancing_tumor": validated(0.9)}}, "no regions of a volume: enhancing_tumor"),
        ({"validated_dice": {"enhancing": {**validated(0.9), "split": "test"}}}, "measured on the split val"),
        ({"validated_dice": {"enhancing": validated(1.1)}}, "measured on the split val"),
    ],
)
def test_a_manifest_that_does_not_add_up_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Manifest.model_validate({**MANIFEST, **change})


def test_a_problem_is_a_4xx_or_5xx() -> None:
    with pytest.raises(ValidationError, match="status"):
        Problem(type="about:blank", title="Fine", status=200, detail="-", code="fine")


def test_one_spacing_stands_for_all_axes() -> None:
    window = {"window": [16, 16, 16]}
    even = VolumePreprocessing.model_validate({"spacing_mm": 3.0, **window})
    assert even == VolumePreprocessing.model_validate({"spacing_mm": [3.0, 3.0, 3.0], **window})
    assert VolumePreprocessing.model_validate_json(even.model_dump_json()) == even
    assert VolumePreprocessing.model_validate({"spacing_mm": None, **window}).spacing_mm is None
    for faulty in (0.0, -1.0, [1.0, 1.0], [1.0, 1.0, 0.0], "3"):
        with pytest.raises(ValidationError):
            VolumePreprocessing.model_validate({"spacing_mm": faulty, **window})
