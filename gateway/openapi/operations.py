"""One entry per operation: what it is for, what it takes, what it answers."""

from __future__ import annotations

from core.contracts.sequences import SEQUENCES
from core.http.openapi import image_body
from gateway.openapi import examples
from gateway.openapi.jobs import job_paths
from gateway.openapi.parts import KEY_OR_LOOPBACK, Json, answer, parameters, problems, reference

_PNG: Json = {"schema": {"type": "string", "format": "binary"}}
_PICTURE_HEADERS = {
    "X-Falx-Model": "Name and version of the model, as NAME@VERSION.",
    "X-Falx-Model-Sha256": "SHA-256 of the weights in use.",
    "X-Falx-Provider": "Execution provider that ran them.",
    "X-Falx-Threshold": "Probability above which a pixel counts as tumour.",
    "X-Falx-Tumor-Pixels": "Pixels of tumour in the mask.",
    "X-Falx-Max-Probability": "Highest probability anywhere in the image.",
    "X-Falx-Sequences": "Sequences that were used, separated by commas.",
    "Server-Timing": "Milliseconds of decoding, queue and inference.",
}
_SLICE_NOTE = (
    "The image comes as the part `file` of multipart/form-data, as the raw body with its media type, or in base64 as "
    "JSON. Bodies are streamed to the model server untouched and kept nowhere."
)
_EXPLAIN: Json = {
    "name": "explain",
    "in": "query",
    "description": "`cam` adds a class activation map over the image, as a PNG in base64.",
    "schema": {"type": "string", "enum": ["cam"]},
}
_THRESHOLD: Json = {
    "name": "threshold",
    "in": "query",
    "description": "Probability above which a pixel is tumour; without it, the model's own from validation.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "example": 0.5,
}
_RENDER: Json = {
    "name": "render",
    "in": "query",
    "description": "`overlay` answers with the image and the tumour's border in red, `image` with the image alone, "
    "whatever `Accept` says.",
    "schema": {"type": "string", "enum": ["overlay", "image"]},
}
_NAME: Json = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "`NAME` or `NAME@VERSION`.",
    "schema": {"type": "string", "minLength": 1},
    "example": "tumor-classifier",
}


def paths() -> Json:
    """All paths of the document."""
    return {
        "/v1/classifications": {"post": _classification("classify", "Classify a slice")},
        "/v1/segmentations": {"post": _segmentation("segment", "Outline the tumour in a slice")},
        "/predict_classification": {
            "post": _classification("predictClassification", "Classify a slice (the paper's route)", alias=True)
        },
        "/predict_segmentation": {
            "post": _segmentation("predictSegmentation", "Outline the tumour (the paper's route)", alias=True)
        },
        **job_paths(),
        "/v1/models": {"get": _models()},
        "/v1/models/{name}": {"get": _model()},
        "/v1/models/{name}/card": {"get": _card()},
        "/livez": {"get": _livez()},
        "/readyz": {"get": _readyz()},
        "/metrics": {"get": _metrics()},
    }


def _slice(operation_id: str, summary: str, *, alias: bool) -> Json:
    note = "An alias of the route under /v1, for existing front ends. " if alias else ""
    return {
        "operationId": operation_id,
        "summary": summary,
        "description": note + _SLICE_NOTE,
        "tags": ["paper"] if alias else ["slices"],
        "security": KEY_OR_LOOPBACK,
    }


def _classification(operation_id: str, summary: str, *, alias: bool = False) -> Json:
    answered = answer("The class probabilities.", "Classification", examples.CLASSIFICATION)
    return {
        **_slice(operation_id, summary, alias=alias),
        "parameters": [*parameters("Model", "RequestTimeout"), _EXPLAIN],
        "requestBody": image_body(),
        "responses": {"200": answered, **problems(*examples.SLICE_PROBLEMS)},
    }


def _segmentation(operation_id: str, summary: str, *, alias: bool = False) -> Json:
    answered = answer(
        "By `Accept`: `application/json` describes the tumour, all in the uploaded image's own pixels; `image/png` is "
        "the mask (0 or 255); `image/png; profile=overlay` is the image with the border in red; "
        "`image/png; profile=image` is the image alone, in grey, for programs that cannot show the file themselves.",
        "Segmentation",
        examples.SEGMENTATION,
    )
    answered["content"]["image/png"] = _PNG
    answered["headers"] |= {name: _picture_header(text) for name, text in _PICTURE_HEADERS.items()}
    return {
        **_slice(operation_id, summary, alias=alias),
        "parameters": [*parameters("Model", "RequestTimeout"), _THRESHOLD, _RENDER],
        "requestBody": image_body(SEQUENCES),
        "responses": {"200": answered, **problems(*examples.SEGMENTATION_PROBLEMS)},
    }


def _picture_header(text: str) -> Json:
    return {"description": f"{text} With pictures only.", "schema": {"type": "string"}}


def _models() -> Json:
    return {
        "operationId": "listModels",
        "summary": "The models served",
        "description": "Gathered from the model servers and kept for a few seconds. The models of a server that is "
        "away stay listed with `ready` false.",
        "tags": ["models"],
        "security": KEY_OR_LOOPBACK,
        "parameters": parameters(),
        "responses": {"200": answer("The models.", "ModelList", examples.MODELS), **problems(*examples.MODEL_PROBLEMS)},
    }


def _model() -> Json:
    return {
        "operationId": "describeModel",
        "summary": "One model",
        "tags": ["models"],
        "security": KEY_OR_LOOPBACK,
        "parameters": [_NAME, *parameters()],
        "responses": {
            "200": answer("The model.", "ModelSummary", examples.MODEL),
            **problems(*examples.MODEL_PROBLEMS, examples.UNKNOWN_MODEL),
        },
    }


def _card() -> Json:
    card = {
        "description": "The card, in Markdown (UTF-8) with tables.",
        "headers": {
            "X-Request-ID": reference("headers", "RequestId"),
            "Cache-Control": reference("headers", "NoStore"),
        },
        "content": {"text/markdown": {"schema": {"type": "string"}, "example": examples.CARD}},
    }
    return {
        "operationId": "readModelCard",
        "summary": "The card of a model",
        "description": "How it was made, on which data, every figure with its interval, and its limits. The card of a "
        "worker's model comes from a model server that has the same bundle.",
        "tags": ["models"],
        "security": KEY_OR_LOOPBACK,
        "parameters": [_NAME, *parameters()],
        "responses": {
            "200": card,
            **problems(*examples.MODEL_PROBLEMS, examples.UNKNOWN_MODEL, examples.NO_CARD),
        },
    }


def _service(operation_id: str, summary: str) -> Json:
    return {"operationId": operation_id, "summary": summary, "tags": ["service"], "security": []}


def _livez() -> Json:
    alive = {
        "description": "The process is alive.",
        "headers": {"X-Request-ID": reference("headers", "RequestId")},
        "content": {"text/plain": {"schema": {"type": "string"}, "example": "ok\n"}},
    }
    return {
        **_service("isAlive", "Is the process alive?"),
        "responses": {"200": alive, **problems(*examples.SERVICE_PROBLEMS, private=False)},
    }


def _readyz() -> Json:
    not_ready = answer("Starting, draining, or something that is needed is away.", "Readiness", examples.NOT_READY)
    not_ready["headers"]["Retry-After"] = reference("headers", "RetryAfter")
    return {
        **_service("isReady", "Is everything ready?"),
        "description": "Each model server, and each of its models with version and execution provider; the queue and "
        "the store of volumes, where they are configured.",
        "responses": {
            "200": answer("Everything is ready.", "Readiness", examples.READY),
            "503": not_ready,
            **problems(*examples.SERVICE_PROBLEMS, private=False),
        },
    }


def _metrics() -> Json:
    measured = {
        "description": "Prometheus text format.",
        "headers": {"X-Request-ID": reference("headers", "RequestId")},
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": 'falx_circuit_open{upstream="classifier"} 0.0\n'}
        },
    }
    return {
        **_service("readMetrics", "Prometheus metrics"),
        "description": "Needs the scope `admin` where keys are configured, unless FALX_METRICS_PUBLIC is set.",
        "security": KEY_OR_LOOPBACK,
        "responses": {
            "200": measured,
            **problems(*examples.KEY_PROBLEMS, *examples.SERVICE_PROBLEMS, private=False),
        },
    }
