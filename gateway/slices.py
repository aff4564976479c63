"""The routes that model servers answer: slices, and the choice among the series of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.routing import Route

from core.contracts.operations.analyses import ANALYZE, ANALYZE_BATCH, CLASSIFY_PART
from core.contracts.operations.batches import CLASSIFY_BATCH, SEGMENT_BATCH
from core.contracts.operations.operation import Operation
from core.contracts.operations.slices import CLASSIFY, SEGMENT
from core.contracts.operations.studies import SELECT_SERIES
from gateway.analyses import AnalysisRoute, Analyst
from gateway.forward import Forwarder, Policy, SliceRoute
from gateway.openapi.public import PREDICT_CLASSIFICATION, PREDICT_SEGMENTATION
from gateway.upstream import Upstream

CLASSIFIER = "classifier"
SEGMENTER = "segmenter"


def _route(operation: Operation, upstream: str, target: Operation) -> SliceRoute:
    return SliceRoute(operation.path, operation.query, _media_types(operation), upstream, target.path)


def _analysis(operation: Operation, classification: Operation, segmentation: Operation) -> AnalysisRoute:
    return AnalysisRoute(
        operation.path, operation.query, _media_types(operation), classification.path, segmentation.path
    )


def _media_types(operation: Operation) -> frozenset[str]:
    return frozenset(operation.answers[200].content)


SLICE_ROUTES = (
    _route(CLASSIFY, CLASSIFIER, CLASSIFY),
    _route(SEGMENT, SEGMENTER, SEGMENT),
    _route(CLASSIFY_BATCH, CLASSIFIER, CLASSIFY_BATCH),
    _route(SEGMENT_BATCH, SEGMENTER, SEGMENT_BATCH),
    _route(PREDICT_CLASSIFICATION, CLASSIFIER, CLASSIFY),
    _route(PREDICT_SEGMENTATION, SEGMENTER, SEGMENT),
)
ANALYSIS_ROUTES = (
    _analysis(ANALYZE, CLASSIFY_PART, SEGMENT),
    _analysis(ANALYZE_BATCH, CLASSIFY_BATCH, SEGMENT_BATCH),
)
STUDY_ROUTES = (_route(SELECT_SERIES, SEGMENTER, SELECT_SERIES),)


def slice_routes(upstreams: Mapping[str, Upstream], policy: Policy) -> list[Route]:
    """The routes of slices, each an ASGI endpoint of its own."""
    analyses = [
        Route(route.path, Analyst(route, upstreams[CLASSIFIER], upstreams[SEGMENTER], policy), methods=["POST"])
        for route in ANALYSIS_ROUTES
    ]
    return [*_routes(SLICE_ROUTES, upstreams, policy), *analyses]


def study_routes(upstreams: Mapping[str, Upstream], policy: Policy) -> list[Route]:
    """The same of studies; ``policy`` has the limits of jobs."""
    return _routes(STUDY_ROUTES, upstreams, policy)


def _routes(routes: Sequence[SliceRoute], upstreams: Mapping[str, Upstream], policy: Policy) -> list[Route]:
    return [
        Route(route.path, Forwarder(route, upstreams[route.upstream], policy), methods=["POST"]) for route in routes
    ]
