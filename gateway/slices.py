"""The slice routes: which model server answers which path."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.routing import Route

from gateway.forward import Forwarder, Policy, SliceRoute
from gateway.upstream import Upstream

CLASSIFIER = "classifier"
SEGMENTER = "segmenter"

CLASSIFICATIONS = SliceRoute(
    path="/v1/classifications",
    upstream=CLASSIFIER,
    target="/v1/classifications",
    parameters=frozenset({"model", "explain"}),
    media_types=frozenset({"application/json"}),
)
SEGMENTATIONS = SliceRoute(
    path="/v1/segmentations",
    upstream=SEGMENTER,
    target="/v1/segmentations",
    parameters=frozenset({"model", "threshold", "render"}),
    media_types=frozenset({"application/json", "image/png"}),
)


def _alias(path: str, route: SliceRoute) -> SliceRoute:
    return SliceRoute(path, route.upstream, route.target, route.parameters, route.media_types)


# The routes of the paper, for the front ends that were written against them.
PREDICT_CLASSIFICATION = _alias("/predict_classification", CLASSIFICATIONS)
PREDICT_SEGMENTATION = _alias("/predict_segmentation", SEGMENTATIONS)

SLICE_ROUTES = (CLASSIFICATIONS, SEGMENTATIONS, PREDICT_CLASSIFICATION, PREDICT_SEGMENTATION)


def slice_routes(upstreams: Mapping[str, Upstream], policy: Policy) -> list[Route]:
    """The routes, each an ASGI endpoint of its own."""
    return [
        Route(route.path, Forwarder(route, upstreams[route.upstream], policy), methods=["POST"])
        for route in SLICE_ROUTES
    ]
