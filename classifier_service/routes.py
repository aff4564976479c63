"""``POST /v1/classifications``, for one slice and for several, and the classifier's part of an analysis."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from classifier_service.model import finish, prepare
from classifier_service.settings import ClassifierSettings
from core.contracts.classification import MAY_LACK, Classification
from core.contracts.manifest import ClassificationPreprocessing
from core.contracts.operations.analyses import CLASSIFY_PART
from core.contracts.operations.batches import CLASSIFY_BATCH
from core.contracts.operations.bodies import IMAGE_PART
from core.contracts.operations.slices import CLASSIFY, ClassificationQuery
from core.contracts.sequences import SEQUENCES
from core.http.bodies import Upload
from core.http.requests import request_id_of
from core.imaging.limits import ImageLimits
from core.serving.batcher import Ticket
from core.serving.batches import Work
from core.serving.model_server import ModelRegistry, RowOutputs, ServedModel
from core.serving.slice_requests import PlainRoute, answer_files, answer_slices, image_limits, read_query


def classification_router(registry: ModelRegistry, settings: ClassifierSettings) -> APIRouter:
    """The routes of this service; ``registry`` holds classification models."""
    router = APIRouter(route_class=PlainRoute)
    limits = image_limits(settings)

    def work_on(request: Request) -> tuple[ServedModel, Work]:
        query = read_query(ClassificationQuery, request)
        served = registry.resolve(query.model)

        async def work(uploads: Mapping[str, Upload], ticket: Ticket[RowOutputs]) -> Response:
            answer = await _classify(
                registry,
                served,
                limits,
                uploads,
                ticket,
                request_id_of(request),
                explain=query.explain == "cam",
            )
            # Already validated by its type: writing it out here spares FastAPI's second validation and its encoder.
            hidden = {name for name in MAY_LACK if getattr(answer, name) is None}
            return Response(answer.model_dump_json(exclude=hidden), media_type="application/json")

        return served, work

    @router.post(CLASSIFY.path, include_in_schema=False)
    async def classify(request: Request) -> Response:
        served, work = work_on(request)
        return await answer_slices(request, served.batcher, settings, (IMAGE_PART,), work)

    @router.post(CLASSIFY_PART.path, include_in_schema=False)
    async def classify_part(request: Request) -> Response:
        served, work = work_on(request)
        return await answer_slices(request, served.batcher, settings, (IMAGE_PART, *SEQUENCES), work)

    @router.post(CLASSIFY_BATCH.path, include_in_schema=False)
    async def classify_batch(request: Request) -> Response:
        served, work = work_on(request)
        return await answer_files(request, served.batcher, settings, work)

    return router


async def _classify(
    registry: ModelRegistry,
    served: ServedModel,
    limits: ImageLimits,
    uploads: Mapping[str, Upload],
    ticket: Ticket[RowOutputs],
    request_id: str,
    *,
    explain: bool,
) -> Classification:
    manifest = served.bundle.manifest
    assert isinstance(manifest.preprocessing, ClassificationPreprocessing)  # noqa: S101  the registry's task
    answered = await registry.prepare_and_run(ticket, prepare, uploads, limits, manifest.preprocessing)

    def answer() -> Classification:
        return finish(
            answered.prepared,
            answered.outputs,
            manifest,
            identity=served.identity,
            timing=answered.timing,
            request_id=request_id,
            with_explanation=explain,
        )

    # Probabilities take microseconds, less than a change of threads; a picture would hold up the event loop.
    classification = await registry.offload(answer) if explain else answer()
    registry.metrics.answered(served.name, classification.label, classification.input_check)
    registry.metrics.set_size.labels(served.name).observe(len(classification.prediction_set))
    return classification
