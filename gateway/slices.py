"""The slice routes: which model server answers which path."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.routing import Route

from core.contracts.operations.batches import CLASSIFY_BATCH, SEGMENT_BATCH
from core.contracts.operations.operation import Operation
from core.contracts.operations.slices import CLASSIFY, SEGMENT
from gateway.forward import Forwarder, Policy, SliceRoute
from gateway.openapi.public import PREDICT_CLASSIFICATION, PREDICT_SEGMENTATION
from gateway.upstream import Upstream

CLASSIFIER = "classifier"
SEGMENTER = "segmenter"


def _route(operation: Operation, upstream: str, target: Operation) -> SliceRoute:
    return SliceRoute(operation.path, upstream, target.path, operation.query, frozenset(operation.answers[200].content))


SLICE_ROUTES = (
    _route(CLASSIFY, CLASSIFIER, CLASSIFY),
    _route(SEGMENT, SEGMENTER, SEGMENT),
    _route(CLASSIFY_BATCH, CLASSIFIER, CLASSIFY_BATCH),
    _route(SEGMENT_BATCH, SEGMENTER, SEGMENT_BATCH),
    _route(PREDICT_CLASSIFICATION, CLASSIFIER, CLASSIFY),
    _route(PREDICT_SEGMENTATION, SEGMENTER, SEGMENT),
)


def slice_routes(upstreams: Mapping[str, Upstream], policy: Policy) -> list[Route]:
    """The routes, each an ASGI endpoint of its own."""
    return [
        Route(route.path, Forwarder(route, upstreams[route.upstream], policy), methods=["POST"])
        for route in SLICE_ROUTES
    ]
