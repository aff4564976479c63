"""What the OpenAPI document says of ``POST /v1/segmentations``."""

from __future__ import annotations

from typing import Any

from core.contracts.common import ModelIdentity, TimingMs
from core.contracts.segmentation import CocoRle, Segmentation
from core.contracts.sequences import SEQUENCES
from core.errors import (
    DeadlineExceeded,
    DecompressionBomb,
    InconsistentGeometry,
    InputTooLarge,
    InvalidDicom,
    InvalidImage,
    InvalidRequest,
    MissingSequence,
    NotAcceptable,
    NotMr,
    NotReady,
    QueueFull,
    UnknownModel,
    UnsupportedMediaType,
    UnsupportedTransferSyntax,
    UnusableImage,
)
from core.http.openapi import EXAMPLE_REQUEST_ID, image_body, problem_responses
from segmenter_service.slices.negotiation import Representation

SUMMARY = "Outline the tumour in one slice."
DESCRIPTION = """\
One slice in, the tumour's mask out. Send one grey image of any sequence, or parts named by sequence (`t1`, `t1ce`,
`t2`, `flair`; any of them, all of one size). A DICOM file alone counts as an image of unknown sequence, whatever its
header says: name the part to use the sequence.

Masks, contours, boxes and pictures are in the uploaded image's own pixels: those of the upright image, where EXIF
or the file's header turns it. Contours run along the region's own border pixels, regions counter-clockwise as seen
on a screen and holes clockwise; filled together by the even-odd rule, borders included, they give the mask exactly.

`Accept` chooses the answer: `application/json` (the default), `image/png` for the mask in 0 and 255,
`image/png; profile=overlay` for the image with the tumour's border in red, or `image/png; profile=image` for the image
alone, in grey, for programs that cannot show the file themselves. `render=overlay` and `render=image` ask for the last
two, whatever `Accept` says. Of several sequences both show the first there is of flair, t1ce, t2, t1. Pictures carry
the model, the threshold and the number of tumour pixels in `X-Falx-*` headers.

Research use only. Not a medical device."""

EXAMPLE = Segmentation(
    size=(8, 8),
    tumor_pixels=4,
    area_mm2=1.96,
    mask=CocoRle(size=(8, 8), counts="b0260n0"),
    contours=(((2, 2), (2, 3), (3, 3), (3, 2)),),
    bounding_box=(2, 2, 2, 2),
    max_probability=0.97,
    threshold=0.5,
    sequences=("image",),
    model=ModelIdentity(
        name="tumor-segmenter",
        version="1",
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        provider="CPUExecutionProvider",
        variant="int8",
    ),
    timing_ms=TimingMs(decode=2.4, queue=0.2, inference=34.9),
    request_id=EXAMPLE_REQUEST_ID,
)

_AVAILABLE = ", ".join(representation.value for representation in Representation)

_PICTURE_HEADERS = {
    "X-Falx-Model": "Name and version of the model, as NAME@VERSION.",
    "X-Falx-Model-Sha256": "SHA-256 of the weights in use.",
    "X-Falx-Provider": "Execution provider that ran them.",
    "X-Falx-Threshold": "Probability above which a pixel counts as tumour.",
    "X-Falx-Tumor-Pixels": "Pixels of tumour in the mask.",
    "X-Falx-Max-Probability": "Highest probability anywhere in the image.",
    "X-Falx-Sequences": "Sequences that were used, separated by commas.",
    "X-Falx-Warnings": "What was left out of the image, as in the JSON answer; absent without any.",
    "Server-Timing": "Milliseconds of decode, queue and inference.",
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Segmentation,
        "description": "The segmentation, as JSON or as a picture.",
        "headers": {
            name: {"description": f"{text} Pictures only.", "schema": {"type": "string"}}
            for name, text in _PICTURE_HEADERS.items()
        },
        "content": {
            "application/json": {"example": EXAMPLE.model_dump(mode="json")},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    **problem_responses(
        InvalidRequest("The request does not match its description at: query/threshold."),
        InvalidImage("The file is cut short: its last pixels are missing."),
        InvalidDicom("The file has no pixel data."),
        UnknownModel("No such model is served here. Known: tumor-segmenter@1."),
        NotAcceptable(f"This address answers as {_AVAILABLE}; Accept names none of them."),
        InputTooLarge("The body is larger than 33554432 bytes."),
        DecompressionBomb("the image is 30000x30000, the longest side allowed is 16384 pixels"),
        UnsupportedMediaType("Content-Type 'text/plain' is not read here."),
        UnsupportedTransferSyntax("Transfer syntax 1.2.840.10008.1.2.4.100 is not read here."),
        UnusableImage("the image is 1x1, each side must have at least 16 pixels"),
        NotMr("The file's modality is CT; only MR is read."),
        MissingSequence("images is empty; give at least one of: t1, t1ce, t2, flair."),
        InconsistentGeometry("all sequences must have one size, got t1 200x256, t2 256x256"),
        QueueFull("64 of 64 places are taken.", retry_after_s=2),
        NotReady("The server is draining.", retry_after_s=5),
        DeadlineExceeded("The answer was not ready in time."),
    ),
}

BODY = image_body(SEQUENCES)
