"""The operations on one slice: classify it, outline the tumour in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from pydantic import Field

from core import errors
from core.contracts.base import DISCLAIMER, Contract
from core.contracts.classification import MAY_LACK, Classification
from core.contracts.common import InputCheckResult, ModelIdentity, TimingMs
from core.contracts.operations.bodies import INLINE_EXAMPLE, image_body
from core.contracts.operations.operation import (
    BINARY,
    EXAMPLE_REQUEST_ID,
    EXAMPLE_SHA256,
    OWN_REQUEST_ID,
    REQUEST_TIMEOUT,
    Content,
    Header,
    Operation,
    json_answer,
    query_parameters,
)
from core.contracts.segmentation import CocoRle, Segmentation
from core.contracts.sequences import SEQUENCES

_MODEL = "`NAME` for its newest version, or `NAME@VERSION`; without it the default model answers."
PNG: Final = "image/png"

WAYS: Final = (
    "The image comes as the part `file` of multipart/form-data, or as the raw body with its media type. JSON is read "
    f"as well, with the image in base64: `{INLINE_EXAMPLE}`. Several parts `file` are answered as on `/batch`."
)
"""How an image comes."""
SEQUENCE_WAYS: Final = (
    f"{WAYS} Send one grey image of any sequence, or parts named by sequence (`t1`, `t1ce`, `t2`, `flair`; any of "
    'them, all of one size), which are `{"images": {"flair": "<base64>"}}` in JSON.'
)
"""How an image comes, or several sequences of one slice."""
_TIMING = TimingMs(decode=2.1, queue=0.3, inference=21.7)
_REFUSALS: tuple[errors.FalxError, ...] = (
    errors.InvalidRequest("A query parameter is unknown here; known: explain, model."),
    errors.InvalidImage("The PNG ends before its image does."),
    errors.InvalidDicom("The file has no DICOM prefix."),
    errors.UnknownModel("No such model is served here. Known: tumor-classifier@1."),
    errors.InputTooLarge("The body is larger than the limit of 184549376 bytes (176 MiB)."),
    errors.DecompressionBomb("The image has 900000000 pixels; the limit is 24000000."),
    errors.UnsupportedMediaType("Content-Type 'text/plain' is not read here."),
    errors.UnsupportedMediaType(
        "Compressed bodies (Content-Encoding) are not read; images are compressed already.",
        headers={"Accept-Encoding": "identity"},
    ),
    errors.UnsupportedTransferSyntax("The transfer syntax of the DICOM file is not supported."),
    errors.UnusableImage("The image is 1 x 1 pixels; at least 16 x 16 are needed."),
    errors.NotMr("The modality is CT; the models know MR only."),
    errors.QueueFull("64 images are waiting. Try again in 3 s.", retry_after_s=3),
    errors.NotReady("The server is stopping.", retry_after_s=1),
    errors.DeadlineExceeded("The answer was not ready in time."),
)


def _identity(name: str) -> ModelIdentity:
    return ModelIdentity(name=name, version="1", sha256=EXAMPLE_SHA256, provider="CPUExecutionProvider", variant="int8")


class ClassificationQuery(Contract):
    """The query of a classification."""

    model: str | None = Field(default=None, description=_MODEL, examples=["tumor-classifier", "tumor-classifier@1"])
    explain: Literal["cam"] | None = Field(
        default=None, description="`cam` adds a class activation map over the image, as a PNG in base64."
    )


_CLASSIFIED: Final = Classification(
    label="meningioma",
    probability=0.93,
    probabilities={"glioma": 0.03, "meningioma": 0.93, "pituitary": 0.02, "no_tumor": 0.02},
    prediction_set=("meningioma",),
    coverage=0.95,
    input_check=InputCheckResult(in_distribution=True, score=0.81),
    model=_identity("tumor-classifier"),
    timing_ms=_TIMING,
    request_id=EXAMPLE_REQUEST_ID,
)
CLASSIFY: Final = Operation(
    id="classify",
    route="POST /v1/classifications",
    tag="slices",
    summary="Classify a slice",
    description=f"""\
One slice in, class probabilities out. {WAYS}

With `explain=cam` the answer carries the evidence for the predicted class as a heat map over the image, a PNG in the
uploaded image's own pixels: of the upright image, where EXIF or the file's header turns it. `input_check` tells whether
the image looks like a head slice and like the training data; an image that does not is answered all the same, with its
reasons.

{DISCLAIMER}""",
    parameters=(REQUEST_TIMEOUT, OWN_REQUEST_ID, *query_parameters(ClassificationQuery)),
    body=image_body(),
    answers={200: json_answer("The class probabilities.", _CLASSIFIED, without=MAY_LACK)},
    refusals=_REFUSALS,
)

Rendered = Literal["overlay", "image"]
"""What the query's ``render`` may name."""


class SegmentationBatchQuery(Contract):
    """The query of a segmentation of several slices."""

    model: str | None = Field(default=None, description=_MODEL, examples=["tumor-segmenter", "tumor-segmenter@1"])
    threshold: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="Probability above which a pixel is tumour; without it, the model's own from validation.",
        examples=[0.5],
    )


class SegmentationQuery(SegmentationBatchQuery):
    """The query of a segmentation."""

    render: Rendered | None = Field(
        default=None,
        description="`overlay` answers with the image and the tumour's border in red, `image` with the image alone, "
        "whatever `Accept` says.",
    )


def of_pictures(name: str, description: str, *, required: bool = True) -> Header:
    """A header that pictures have, and no answer in JSON."""
    return Header(name, f"{description} With pictures only.", required=required)


def in_header(sentences: Sequence[str]) -> str:
    """Several sentences as the value of one header, in ASCII."""
    return "; ".join(sentences).encode("ascii", "replace").decode()


def input_check_headers(check: InputCheckResult) -> dict[str, str]:
    """What a picture says of the input check; reasons only where there are any."""
    headers = {
        "X-Falx-Input-Check": "familiar" if check.in_distribution else "unfamiliar",
        "X-Falx-Input-Score": f"{check.score:.4f}",
    }
    return headers | ({"X-Falx-Input-Reasons": in_header(check.reasons)} if check.reasons else {})


PICTURE: Final = Content(
    BINARY,
    headers=(
        of_pictures("X-Falx-Model", "Name and version of the model, as NAME@VERSION."),
        of_pictures("X-Falx-Model-Sha256", "SHA-256 of the weights in use."),
        of_pictures("X-Falx-Provider", "Execution provider that ran them."),
        of_pictures("X-Falx-Threshold", "Probability above which a pixel counts as tumour."),
        of_pictures("X-Falx-Tumor-Pixels", "Pixels of tumour in the mask."),
        of_pictures("X-Falx-Max-Probability", "Highest probability anywhere in the image."),
        of_pictures("X-Falx-Sequences", "Sequences that were used, separated by commas."),
        of_pictures(
            "X-Falx-Input-Check",
            "`familiar` or `unfamiliar`: whether the image looks like the training data, as `input_check` of the JSON "
            "answer says.",
        ),
        of_pictures("X-Falx-Input-Score", "Score of the input check, 0 to 1; below 0.5 the image is unfamiliar."),
        of_pictures(
            "X-Falx-Input-Reasons",
            "What makes the image unfamiliar, as in the JSON answer; absent where it is familiar.",
            required=False,
        ),
        of_pictures(
            "X-Falx-Warnings",
            "What was left out of the image, as in the JSON answer; absent without any.",
            required=False,
        ),
        of_pictures("Server-Timing", "Milliseconds of decoding, queue and inference."),
    ),
)
_OUTLINED: Final = json_answer(
    "By `Accept`: `application/json` describes the tumour, all in the uploaded image's own pixels; `image/png` is "
    "the mask (0 or 255); `image/png; profile=overlay` is the image with the border in red; "
    "`image/png; profile=image` is the image alone, in grey, for programs that cannot show the file themselves.",
    Segmentation(
        size=(8, 8),
        tumor_pixels=4,
        area_mm2=3.52,
        mask=CocoRle(size=(8, 8), counts="b0260n0"),
        contours=(((2, 2), (2, 3), (3, 3), (3, 2)),),
        bounding_box=(2, 2, 2, 2),
        max_probability=0.97,
        threshold=0.5,
        sequences=("flair",),
        input_check=InputCheckResult(in_distribution=True, score=0.81),
        model=_identity("tumor-segmenter"),
        timing_ms=_TIMING,
        request_id=EXAMPLE_REQUEST_ID,
    ),
    Header("Vary", "`Accept` chooses the answer, so caches keep the answers apart by it."),
)

SEGMENT: Final = Operation(
    id="segment",
    route="POST /v1/segmentations",
    tag="slices",
    summary="Outline the tumour in a slice",
    description=f"""\
One slice in, the tumour's mask out. {SEQUENCE_WAYS} A DICOM file alone counts as an image of
unknown sequence, whatever its header says: name the part to use the sequence.

Masks, contours, boxes and pictures are in the uploaded image's own pixels: those of the upright image, where EXIF
or the file's header turns it. Contours run along the region's own border pixels, regions counter-clockwise as seen
on a screen and holes clockwise; filled together by the even-odd rule, borders included, they give the mask exactly.

`input_check` tells whether the image looks like a head slice and like the training data, as in a classification; of
several sequences the least familiar one is told of. An image that does not is outlined all the same, with its reasons.

Where nothing is outlined, `candidate` may tell where a tumour is likeliest all the same: the connected pixels around
the most probable one. It is no outline, and it is often wrong.

Of several sequences, pictures show the first there is of flair, t1ce, t2, t1. They carry the model, the threshold, the
number of tumour pixels and the input check in `X-Falx-*` headers.

{DISCLAIMER}""",
    parameters=(REQUEST_TIMEOUT, OWN_REQUEST_ID, *query_parameters(SegmentationQuery)),
    body=image_body(SEQUENCES),
    answers={200: replace(_OUTLINED, content={**_OUTLINED.content, PNG: PICTURE})},
    refusals=(
        *_REFUSALS,
        errors.NotAcceptable(
            "This address answers as application/json, image/png, image/png; profile=overlay, "
            "image/png; profile=image; Accept names none of them."
        ),
        errors.MissingSequence("images is empty; give at least one of: t1, t1ce, t2, flair."),
        errors.InconsistentGeometry("t1 is 240 x 240 pixels, flair is 256 x 256."),
    ),
)

SLICES: Final = (CLASSIFY, SEGMENT)
