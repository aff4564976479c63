"""The classifier's own steps around the network: prepare one image, finish one answer.

The step between, running a batch, is the same for every network and lives in ``core.serving.model_server``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classifier_service.heatmap import place_evidence, render_heat_map
from classifier_service.input_check import check_input, check_pixels
from classifier_service.prediction import Prediction, predict
from core.contracts.classification import Classification, Explanation
from core.contracts.common import ModelIdentity, TimingMs
from core.contracts.manifest import ClassificationPreprocessing, Manifest
from core.imaging.decode import decode
from core.imaging.limits import ImageLimits
from core.imaging.slices import Slice
from core.imaging.transforms import Placement, prepare_classification

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One decoded image: ``tensor`` (1, S, S) for the network, and what is needed to speak of the original."""

    image: Slice
    tensor: FloatArray
    placement: Placement
    pixel_reasons: tuple[str, ...]


RowOutputs = Mapping[str, npt.NDArray[Any]]
"""The network's outputs for one image: logits (K,), cam (K, h', w'), energy and distance (scalars)."""


def prepare(data: bytes, declared: str | None, limits: ImageLimits, spec: ClassificationPreprocessing) -> Prepared:
    """Decodes and checks one upload; runs in a decode thread. Raises ``RequestError`` for what cannot be used."""
    image = decode(data, declared, limits)
    tensor, placement = prepare_classification(image.pixels, spec)
    return Prepared(image, tensor, placement, check_pixels(image, placement))


def explain(prepared: Prepared, outputs: RowOutputs, class_index: int) -> Explanation:
    """The class's evidence as a heat map over the upright uploaded image, pixel for pixel."""
    heat = place_evidence(outputs["cam"][class_index], prepared.placement)
    picture = render_heat_map(prepared.image.pixels, heat)
    return Explanation(data=base64.b64encode(picture).decode("ascii"))


def finish(
    prepared: Prepared,
    outputs: RowOutputs,
    manifest: Manifest,
    *,
    identity: ModelIdentity,
    timing: TimingMs,
    request_id: str,
    with_explanation: bool,
) -> Classification:
    """The answer for one image. With an explanation this renders a picture: run it in a thread."""
    prediction = predict(outputs["logits"], manifest.labels, manifest.calibration)
    return Classification(
        label=manifest.labels[prediction.index],
        probability=float(prediction.probabilities[prediction.index]),
        probabilities=_by_label(prediction, manifest.labels),
        prediction_set=prediction.prediction_set,
        coverage=prediction.coverage,
        input_check=check_input(
            prepared.pixel_reasons, manifest.input_check, float(outputs["distance"]), float(outputs["energy"])
        ),
        explanation=explain(prepared, outputs, prediction.index) if with_explanation else None,
        model=identity,
        timing_ms=timing,
        warnings=prepared.image.notes,
        request_id=request_id,
    )


def _by_label(prediction: Prediction, labels: Sequence[str]) -> dict[str, float]:
    return dict(zip(labels, prediction.probabilities.tolist(), strict=True))
