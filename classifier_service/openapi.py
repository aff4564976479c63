"""What the OpenAPI document says of ``POST /v1/classifications``."""

from __future__ import annotations

from typing import Any

from core.contracts.classification import Classification, Explanation
from core.contracts.common import InputCheckResult, ModelIdentity, TimingMs
from core.errors import (
    DeadlineExceeded,
    DecompressionBomb,
    InputTooLarge,
    InvalidDicom,
    InvalidImage,
    InvalidRequest,
    NotMr,
    NotReady,
    QueueFull,
    UnknownModel,
    UnsupportedMediaType,
    UnsupportedTransferSyntax,
    UnusableImage,
)
from core.http.openapi import EXAMPLE_REQUEST_ID, image_body, problem_responses

SUMMARY = "Classify one slice."
DESCRIPTION = """\
One slice in, class probabilities out. With `explain=cam` the answer carries the evidence for the predicted class as
a heat map over the image, a PNG in the uploaded image's own pixels: of the upright image, where EXIF or the file's
header turns it. `input_check` tells whether the image looks like a head slice and like the training data; an image
that does not is answered all the same, with its reasons.

Research use only. Not a medical device."""

EXAMPLE = Classification(
    label="meningioma",
    probability=0.93,
    probabilities={"glioma": 0.03, "meningioma": 0.93, "pituitary": 0.02, "no_tumor": 0.02},
    prediction_set=("meningioma",),
    coverage=0.95,
    input_check=InputCheckResult(in_distribution=True, score=0.81),
    explanation=Explanation(data="iVBORw0KGgo="),
    model=ModelIdentity(
        name="tumor-classifier",
        version="1",
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        provider="CPUExecutionProvider",
        variant="int8",
    ),
    timing_ms=TimingMs(decode=2.1, queue=0.3, inference=21.7),
    request_id=EXAMPLE_REQUEST_ID,
)

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Classification,
        "description": "The classification.",
        "content": {"application/json": {"example": EXAMPLE.model_dump(mode="json")}},
    },
    **problem_responses(
        InvalidRequest("The request does not match its description at: query/explain."),
        InvalidImage("The file is cut short: its last pixels are missing."),
        InvalidDicom("The file has no pixel data."),
        UnknownModel("No such model is served here. Known: tumor-classifier@1."),
        InputTooLarge("The body is larger than 33554432 bytes."),
        DecompressionBomb("the image is 30000x30000, the longest side allowed is 16384 pixels"),
        UnsupportedMediaType("Content-Type 'text/plain' is not read here."),
        UnsupportedTransferSyntax("Transfer syntax 1.2.840.10008.1.2.4.100 is not read here."),
        UnusableImage("the image is 1x1, each side must have at least 16 pixels"),
        NotMr("The file's modality is CT; only MR is read."),
        QueueFull("64 of 64 places are taken.", retry_after_s=2),
        NotReady("The server is draining.", retry_after_s=5),
        DeadlineExceeded("The answer was not ready in time."),
    ),
}

BODY = image_body()
