"""``POST /v1/segmentations``, for one slice and for several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.operations.batches import SEGMENT_BATCH
from core.contracts.operations.bodies import IMAGE_PART
from core.contracts.operations.slices import SEGMENT, SegmentationBatchQuery, SegmentationQuery
from core.contracts.tensors import PROBABILITY
from core.http.bodies import Upload
from core.http.requests import request_id_of
from core.imaging.limits import ImageLimits
from core.serving.batcher import Ticket
from core.serving.batches import Work
from core.serving.model_server import ModelRegistry, RowOutputs, ServedModel
from core.serving.slice_requests import answer_files, answer_slices, image_limits, read_query
from core.telemetry.metrics import ModelMetrics
from segmenter_service.slices.answers import build_answer
from segmenter_service.slices.masks import count_pixels
from segmenter_service.slices.model import Outlined, Prepared, outline, prepare
from segmenter_service.slices.negotiation import Representation, negotiate
from segmenter_service.slices.settings import SegmenterSettings

# For a bundle whose manifest names none.
DEFAULT_THRESHOLD: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Wish:
    """What one caller asked for."""

    served: ServedModel
    threshold: float
    representation: Representation
    request_id: str


def segmentation_router(registry: ModelRegistry, settings: SegmenterSettings) -> APIRouter:
    """The routes of this service; ``registry`` holds segmentation models."""
    router = APIRouter()
    limits = image_limits(settings)

    def work_on(wish: _Wish) -> Work:
        async def work(uploads: Mapping[str, Upload], ticket: Ticket[RowOutputs]) -> Response:
            return await _segment(registry, wish, limits, uploads, ticket)

        return work

    @router.post(SEGMENT.path, include_in_schema=False)
    async def segment(request: Request) -> Response:
        query = read_query(SegmentationQuery, request)
        wish = _read_wish(request, query, registry, negotiate(_accept(request), query.render))
        names = (IMAGE_PART, *_spec(wish.served).sequences)
        several = wish.representation is Representation.JSON
        return await answer_slices(request, wish.served.batcher, settings, names, work_on(wish), several=several)

    @router.post(SEGMENT_BATCH.path, include_in_schema=False)
    async def segment_batch(request: Request) -> Response:
        query = read_query(SegmentationBatchQuery, request)
        wish = _read_wish(request, query, registry, negotiate(_accept(request), offered=(Representation.JSON,)))
        return await answer_files(request, wish.served.batcher, settings, work_on(wish))

    return router


def _accept(request: Request) -> str | None:
    return ", ".join(request.headers.getlist("accept")) or None


def _read_wish(
    request: Request, query: SegmentationBatchQuery, registry: ModelRegistry, representation: Representation
) -> _Wish:
    """Everything that can be refused without reading the body."""
    served = registry.resolve(query.model)
    threshold = query.threshold or served.bundle.manifest.threshold or DEFAULT_THRESHOLD
    return _Wish(served, threshold, representation, request_id_of(request))


def _spec(served: ServedModel) -> SegmentationPreprocessing:
    spec = served.bundle.manifest.preprocessing
    assert isinstance(spec, SegmentationPreprocessing)  # noqa: S101  the registry's task
    return spec


async def _segment(
    registry: ModelRegistry,
    wish: _Wish,
    limits: ImageLimits,
    uploads: Mapping[str, Upload],
    ticket: Ticket[RowOutputs],
) -> Response:
    answered = await registry.prepare_and_run(ticket, prepare, uploads, limits, _spec(wish.served))

    def answer() -> Response:
        outlined = outline(answered.prepared, answered.outputs[PROBABILITY][0], wish.threshold)
        _count(registry.metrics, wish.served.name, answered.prepared, outlined)
        return build_answer(
            answered.prepared,
            outlined,
            wish.threshold,
            wish.representation,
            identity=wish.served.identity,
            timing=answered.timing,
            request_id=wish.request_id,
        )

    return await registry.offload(answer)


def _count(metrics: ModelMetrics, model: str, prepared: Prepared, outlined: Outlined) -> None:
    share = count_pixels(outlined.mask) / outlined.mask.size
    metrics.answered(model, "tumor" if share else "nothing", prepared.input_check)
    if share:
        metrics.outlined_share.labels(model).observe(share)
