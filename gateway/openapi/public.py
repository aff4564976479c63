"""The operations as the gateway offers them, with all that it adds: keys, limits, model servers that may be away."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from core import errors
from core.contracts.operations.analyses import ANALYSES
from core.contracts.operations.batches import BATCHES
from core.contracts.operations.jobs import JOBS, SUBMIT_JOB
from core.contracts.operations.operation import OWN_REQUEST_ID, Operation, Parameter
from core.contracts.operations.service import (
    DESCRIBE_MODEL,
    IS_ALIVE,
    LIST_MODELS,
    READ_METRICS,
    READ_MODEL_CARD,
    is_ready,
)
from core.contracts.operations.slices import CLASSIFY, SEGMENT
from core.contracts.operations.studies import SELECT_SERIES
from core.contracts.service import DependencyState, Readiness
from gateway.keys import Scope


def _alias(operation: Operation, operation_id: str, path: str, summary: str) -> Operation:
    description = f"An alias of the route under /v1, for existing front ends. {operation.description}"
    route = f"{operation.method} {path}"
    return replace(operation, id=operation_id, route=route, tag="paper", summary=summary, description=description)


PREDICT_CLASSIFICATION: Final = _alias(
    CLASSIFY, "predictClassification", "/predict_classification", "Classify a slice (the paper's route)"
)
PREDICT_SEGMENTATION: Final = _alias(
    SEGMENT, "predictSegmentation", "/predict_segmentation", "Outline the tumour (the paper's route)"
)
_TRACEPARENT: Final = Parameter(
    "traceparent",
    "header",
    "W3C trace context, passed on to the model server as it is; so is `tracestate`.",
    examples=("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",),
    shared_as="Traceparent",
)


def _published(operation: Operation, *refusals: errors.FalxError, scope: Scope | None, note: str = "") -> Operation:
    """``operation`` with what the gateway adds; ``scope`` is what a key needs, None where no key is asked for."""
    other = Scope.JOBS if scope is Scope.INFER else Scope.INFER
    of_keys: tuple[errors.FalxError, ...] = (
        errors.Unauthorized("Send an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."),
        errors.Forbidden(f"This needs the scope '{scope}'; the key 'dashboard' has: {other}."),
    )
    return replace(
        operation,
        description="\n\n".join(filter(None, (operation.description, note))),
        parameters=(*operation.parameters, *((_TRACEPARENT,) if OWN_REQUEST_ID in operation.parameters else ())),
        refusals=(*operation.refusals, *(of_keys if scope else ()), *refusals),
    )


_RATE_LIMITED: Final = errors.RateLimited("At most 600 per 1 minute per caller. Try again in 12 s.", retry_after_s=12)
_NO_SERVER: Final = errors.ModelUnavailable("No model server can be reached.", retry_after_s=2)


def _forwarded(operation: Operation, scope: Scope = Scope.INFER) -> Operation:
    return _published(
        operation,
        _RATE_LIMITED,
        errors.UpstreamError("The model server 'classifier' failed; its log has the cause under the request id."),
        errors.ModelUnavailable(
            "The model server 'classifier' cannot be reached; it is asked again shortly.", retry_after_s=5
        ),
        scope=scope,
        note="Bodies are streamed to the model server untouched and kept nowhere.",
    )


_MODEL: Final = {"detail": "reference", "provider": "CPUExecutionProvider", "version": "1"}
_READY: Final = Readiness(
    ready=True,
    dependencies=(
        DependencyState(name="classifier", ready=True),
        DependencyState(name="classifier/tumor-classifier", ready=True, **_MODEL),
        DependencyState(name="segmenter", ready=True),
        DependencyState(name="segmenter/tumor-segmenter", ready=True, **_MODEL),
        DependencyState(name="queue", ready=True),
        DependencyState(name="blobs", ready=True),
    ),
)
_AWAY: Final = DependencyState(name="segmenter", ready=False, detail="The model server 'segmenter' cannot be reached.")
_NOT_READY: Final = Readiness(ready=False, dependencies=(DependencyState(name="classifier", ready=True), _AWAY))

PUBLIC: Final = (
    *map(_forwarded, (CLASSIFY, SEGMENT, *BATCHES, *ANALYSES, PREDICT_CLASSIFICATION, PREDICT_SEGMENTATION)),
    _forwarded(SELECT_SERIES, Scope.JOBS),
    _published(SUBMIT_JOB, _RATE_LIMITED, scope=Scope.JOBS),
    *(_published(operation, scope=Scope.JOBS) for operation in JOBS if operation is not SUBMIT_JOB),
    _published(
        LIST_MODELS,
        _NO_SERVER,
        scope=Scope.INFER,
        note="Gathered from the model servers and kept for a few seconds. The models of a server that is away stay "
        "listed with `ready` false.",
    ),
    _published(DESCRIBE_MODEL, _NO_SERVER, scope=Scope.INFER),
    _published(
        READ_MODEL_CARD,
        _NO_SERVER,
        scope=Scope.INFER,
        note="The card of a worker's model comes from a model server that has the same bundle.",
    ),
    _published(IS_ALIVE, scope=None),
    _published(
        is_ready(_READY, _NOT_READY),
        scope=None,
        note="Of the gateway: each model server with its models; the queue and the store of volumes, where configured.",
    ),
    _published(
        READ_METRICS,
        scope=Scope.ADMIN,
        note="Needs the scope `admin` where keys are configured, unless FALX_METRICS_PUBLIC is set.",
    ),
)
"""Every operation of the public document."""
