"""The operations on what answers: its models and their cards, its health, its metrics."""

from __future__ import annotations

from typing import Final

from core import errors
from core.contracts.base import DISCLAIMER
from core.contracts.manifest import Metric
from core.contracts.operations.operation import (
    EXAMPLE_SHA256,
    NO_STORE,
    OWN_REQUEST_ID,
    REQUEST_ID,
    RETRY_AFTER,
    TEXT,
    Answer,
    Content,
    Operation,
    Parameter,
    json_answer,
)
from core.contracts.service import DependencyState, ModelList, ModelSummary, Readiness

_MODEL: Final = ModelSummary(
    name="tumor-classifier",
    version="1",
    task="classification",
    title="Four-class tumour classifier",
    architecture="efficientnet-lite2+efficientnet-lite2+efficientnet-lite2",
    labels=("glioma", "meningioma", "pituitary", "no_tumor"),
    provider="CPUExecutionProvider",
    variant="reference",
    sha256=EXAMPLE_SHA256,
    ready=True,
    metrics=(Metric(name="accuracy", value=0.9, data_set="example", split="test", count=1000),),
    data_sets=("example",),
    licence="Apache-2.0",
    intended_use=DISCLAIMER,
)
_CARD: Final = f"""# Four-class tumour classifier

**{DISCLAIMER}**

## Limits

- Four classes only.
"""
_NAME: Final = Parameter(
    "name", "path", "`NAME` or `NAME@VERSION`.", {"type": "string", "minLength": 1}, ("tumor-classifier",)
)
_UNKNOWN: Final = errors.UnknownModel("No such model is served here; GET /v1/models lists them.")

LIST_MODELS: Final = Operation(
    id="listModels",
    route="GET /v1/models",
    tag="models",
    summary="The models served",
    parameters=(OWN_REQUEST_ID,),
    answers={200: json_answer("The models.", ModelList(models=(_MODEL,)))},
)
DESCRIBE_MODEL: Final = Operation(
    id="describeModel",
    route="GET /v1/models/{name}",
    tag="models",
    summary="One model",
    parameters=(_NAME, OWN_REQUEST_ID),
    answers={200: json_answer("The model.", _MODEL)},
    refusals=(_UNKNOWN,),
)
READ_MODEL_CARD: Final = Operation(
    id="readModelCard",
    route="GET /v1/models/{name}/card",
    tag="models",
    summary="The card of a model",
    description="How it was made, on which data, every figure with its interval, and its limits.",
    parameters=(_NAME, OWN_REQUEST_ID),
    answers={200: Answer("The card, in Markdown (UTF-8) with tables.", {"text/markdown": Content(TEXT, _CARD)})},
    refusals=(_UNKNOWN, errors.NotFound("This model has no card.")),
)

MODELS: Final = (LIST_MODELS, DESCRIBE_MODEL, READ_MODEL_CARD)

IS_ALIVE: Final = Operation(
    id="isAlive",
    route="GET /livez",
    tag="service",
    summary="Is the process alive?",
    headers=(REQUEST_ID,),
    answers={200: Answer("The process is alive.", {"text/plain": Content(TEXT, "ok\n")})},
    also=("HEAD",),
)


def is_ready(ready: Readiness, not_ready: Readiness) -> Operation:
    """The operation that tells of readiness, shown with examples of what the process in question needs."""
    return Operation(
        id="isReady",
        route="GET /readyz",
        tag="service",
        summary="Is everything ready?",
        description="Everything that is needed; each model with its version and execution provider.",
        headers=(REQUEST_ID,),
        answers={
            200: json_answer("Everything is ready.", ready, NO_STORE),
            503: json_answer(
                "Starting, draining, or something that is needed is away.", not_ready, NO_STORE, RETRY_AFTER
            ),
        },
        also=("HEAD",),
    )


_STATE: Final = DependencyState(
    name="tumor-classifier", ready=True, detail="reference", provider="CPUExecutionProvider", version="1"
)
IS_READY: Final = is_ready(
    Readiness(ready=True, dependencies=(_STATE,)), Readiness(ready=False, draining=True, dependencies=(_STATE,))
)
READ_METRICS: Final = Operation(
    id="readMetrics",
    route="GET /metrics",
    tag="service",
    summary="Prometheus metrics",
    headers=(REQUEST_ID,),
    answers={
        200: Answer(
            "Prometheus text format.",
            {"text/plain": Content(TEXT, 'falx_requests_total{method="GET",route="/livez",status="200"} 1.0\n')},
        )
    },
)

SERVICE: Final = (IS_ALIVE, IS_READY, READ_METRICS)
