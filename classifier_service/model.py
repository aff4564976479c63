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

from classifier_service.heatmap import render_heat_map
from classifier_service.prediction import Prediction, label_logits, predict
from core.contracts.classification import Classification, Explanation
from core.contracts.common import ModelIdentity, TimingMs
from core.contracts.manifest import ClassificationPreprocessing, Manifest
from core.contracts.operations.bodies import IMAGE_PART
from core.contracts.sequences import CLASSIFIED_ORDER, SequenceName
from core.contracts.tensors import CAM, DISTANCE, ENERGY, LOGITS
from core.imaging.decode import UploadedImage, decode_part
from core.imaging.limits import ImageLimits
from core.imaging.preparation.evidence import place_evidence
from core.imaging.preparation.input_check import Finding, check_input, check_slice
from core.imaging.preparation.transforms import Framed, Placement, prepare_classification
from core.imaging.slices import Slice

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One decoded image: ``tensor`` (1, S, S) for the network, and what is needed to speak of the original."""

    image: Slice
    # Which sequence it came as; None for an image of unknown sequence.
    sequence: SequenceName | None
    tensor: FloatArray
    placement: Placement
    findings: tuple[Finding, ...]


RowOutputs = Mapping[str, npt.NDArray[Any]]
"""The network's outputs for one image: logits (L,), cam (L, h', w'), energy and distance (scalars)."""


def prepare(uploads: Mapping[str, UploadedImage], limits: ImageLimits, spec: ClassificationPreprocessing) -> Prepared:
    """Decodes and checks the image that is to be classified: the single one, or the first in ``CLASSIFIED_ORDER``.

    Runs in a decode thread. Raises ``RequestError`` for what cannot be used.
    """
    sequence = next((name for name in CLASSIFIED_ORDER if name in uploads), None)
    part = sequence or IMAGE_PART
    image = decode_part(part, uploads[part], limits)
    framed = Framed.of(image.pixels)
    tensor, placement = prepare_classification(image.pixels, spec, framed=framed)
    return Prepared(image, sequence, tensor, placement, check_slice(image, framed))


def explain(prepared: Prepared, outputs: RowOutputs, manifest: Manifest, logit_index: int) -> Explanation:
    """The evidence for one logit as a heat map over the upright uploaded image, pixel for pixel."""
    size = manifest.image_size
    heat = place_evidence(outputs[CAM][logit_index], prepared.placement, size, manifest.map_geometry)
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
    prediction = predict(label_logits(outputs[LOGITS], manifest), manifest.labels, manifest.calibration)
    winner = manifest.logit_indices[prediction.index]
    return Classification(
        label=manifest.labels[prediction.index],
        probability=prediction.probabilities[prediction.index],
        probabilities=_by_label(prediction, manifest.labels),
        prediction_set=prediction.prediction_set,
        coverage=prediction.coverage,
        input_check=check_input(
            prepared.findings, manifest.input_check, float(outputs[DISTANCE]), float(outputs[ENERGY])
        ),
        explanation=explain(prepared, outputs, manifest, winner) if with_explanation else None,
        sequence=prepared.sequence,
        model=identity,
        timing_ms=timing,
        warnings=prepared.image.notes,
        request_id=request_id,
    )


def _by_label(prediction: Prediction, labels: Sequence[str]) -> dict[str, float]:
    return dict(zip(labels, prediction.probabilities, strict=True))
