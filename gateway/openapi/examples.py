"""Example answers, made from the contracts themselves so that they cannot drift from them."""

from __future__ import annotations

from core.contracts.base import Contract
from core.contracts.classification import Classification
from core.contracts.common import InputCheckResult, ModelIdentity, TimingMs
from core.contracts.manifest import Metric
from core.contracts.segmentation import CocoRle, Segmentation
from core.contracts.service import DependencyState, ModelList, ModelSummary, Readiness
from core.errors import (
    DeadlineExceeded,
    DecompressionBomb,
    FalxError,
    Forbidden,
    InconsistentGeometry,
    InputTooLarge,
    InvalidDicom,
    InvalidImage,
    InvalidRequest,
    MethodNotAllowed,
    MissingSequence,
    ModelUnavailable,
    NotAcceptable,
    NotFound,
    NotMr,
    NotReady,
    QueueFull,
    RateLimited,
    Unauthorized,
    UnknownModel,
    UnsupportedMediaType,
    UnsupportedTransferSyntax,
    UnusableImage,
    UpstreamError,
)
from core.http.openapi import EXAMPLE_REQUEST_ID

_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_TIMING = TimingMs(decode=2.1, queue=0.3, inference=21.7)


def _identity(name: str) -> ModelIdentity:
    return ModelIdentity(name=name, version="1", sha256=_SHA256, provider="CPUExecutionProvider", variant="int8")


CLASSIFICATION: Contract = Classification(
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

SEGMENTATION: Contract = Segmentation(
    size=(4, 5),
    tumor_pixels=4,
    area_mm2=3.52,
    mask=CocoRle(size=(4, 5), counts="52229"),
    contours=(((1, 1), (1, 2), (2, 2), (2, 1)),),
    bounding_box=(1, 1, 2, 2),
    max_probability=0.97,
    threshold=0.5,
    sequences=("flair",),
    model=_identity("tumor-segmenter"),
    timing_ms=_TIMING,
    request_id=EXAMPLE_REQUEST_ID,
)

MODEL = ModelSummary(
    name="tumor-classifier",
    version="1",
    task="classification",
    title="Four-class tumour classifier",
    architecture="efficientnet-lite2+efficientnet-lite2+efficientnet-lite2",
    labels=("glioma", "meningioma", "pituitary", "no_tumor"),
    provider="CPUExecutionProvider",
    variant="reference",
    sha256=_SHA256,
    ready=True,
    metrics=(Metric(name="accuracy", value=0.9, data_set="example", split="test", count=1000),),
    data_sets=("example",),
    licence="Apache-2.0",
    intended_use="Research use only. Not a medical device.",
)

CARD = """# Four-class tumour classifier

**Research use only. Not a medical device.**

## Limits

- Four classes only.
"""

MODELS: Contract = ModelList(models=(MODEL,))

READY = Readiness(
    ready=True,
    dependencies=(
        DependencyState(name="classifier", ready=True),
        DependencyState(
            name="classifier/tumor-classifier",
            ready=True,
            detail="reference",
            provider="CPUExecutionProvider",
            version="1",
        ),
        DependencyState(name="segmenter", ready=True),
        DependencyState(
            name="segmenter/tumor-segmenter",
            ready=True,
            detail="reference",
            provider="CPUExecutionProvider",
            version="1",
        ),
        DependencyState(name="queue", ready=True),
        DependencyState(name="blobs", ready=True),
    ),
)
NOT_READY = Readiness(
    ready=False,
    dependencies=(
        DependencyState(name="classifier", ready=True),
        DependencyState(name="segmenter", ready=False, detail="The model server 'segmenter' cannot be reached."),
    ),
)

KEY_PROBLEMS: tuple[FalxError, ...] = (
    Unauthorized("Send an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."),
    Forbidden("This needs the scope 'infer'; the key 'dashboard' has: jobs."),
)
ROUTING_PROBLEMS: tuple[FalxError, ...] = (
    InvalidRequest("A query parameter is unknown here; known: explain, model."),
    MethodNotAllowed("This address answers POST."),
)
SLICE_PROBLEMS: tuple[FalxError, ...] = (
    *ROUTING_PROBLEMS,
    InvalidImage("The PNG ends before its image does."),
    InvalidDicom("The file has no DICOM prefix."),
    *KEY_PROBLEMS,
    UnknownModel("No such model is served here. Known: tumor-classifier@1."),
    NotAcceptable("This route answers application/json."),
    InputTooLarge("The body is larger than the limit of 184549376 bytes (176 MiB)."),
    DecompressionBomb("The image has 900000000 pixels; the limit is 40000000."),
    UnsupportedMediaType("Content-Type 'text/plain' is not read here."),
    UnsupportedTransferSyntax("The transfer syntax of the DICOM file is not supported."),
    UnusableImage("The image is 1 x 1 pixels; at least 16 x 16 are needed."),
    NotMr("The modality is CT; the models know MR only."),
    QueueFull("64 images are waiting. Try again in 3 s.", retry_after_s=3),
    RateLimited("At most 600 per 1 minute per caller. Try again in 12 s.", retry_after_s=12),
    UpstreamError("The model server 'classifier' failed; its log has the cause under the request id."),
    ModelUnavailable("The model server 'classifier' cannot be reached; it is asked again shortly.", retry_after_s=5),
    NotReady("The server is stopping.", retry_after_s=1),
    DeadlineExceeded("The answer was not ready in time."),
)
SEGMENTATION_PROBLEMS: tuple[FalxError, ...] = (
    *SLICE_PROBLEMS,
    MissingSequence("images is empty; give at least one of: t1, t1ce, t2, flair."),
    InconsistentGeometry("t1 is 240 x 240 pixels, flair is 256 x 256."),
)
MODEL_PROBLEMS: tuple[FalxError, ...] = (
    *KEY_PROBLEMS,
    MethodNotAllowed("This address answers GET."),
    ModelUnavailable("No model server can be reached.", retry_after_s=2),
)
UNKNOWN_MODEL: FalxError = UnknownModel("No such model is served here; GET /v1/models lists them.")
NO_CARD: FalxError = NotFound("This model has no card.")
SERVICE_PROBLEMS: tuple[FalxError, ...] = (MethodNotAllowed("This address answers GET."),)
