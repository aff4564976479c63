"""Puts the segmenter together."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from core.contracts.operations.batches import SEGMENT_BATCH
from core.contracts.operations.slices import SEGMENT
from core.contracts.operations.studies import SELECT_SERIES
from core.serving.model_app import create_model_app
from core.serving.model_server import ModelRegistry
from segmenter_service.slices.routes import segmentation_router
from segmenter_service.slices.selection import selection_router
from segmenter_service.slices.settings import SegmenterSettings


def create_app(settings: SegmenterSettings) -> FastAPI:
    """The service as an ASGI application; models are loaded and warmed up when it starts."""

    def routes(registry: ModelRegistry) -> APIRouter:
        router = APIRouter()
        router.include_router(segmentation_router(registry, settings))
        router.include_router(selection_router(settings))
        return router

    return create_model_app("segmenter", "segmentation", settings, routes, SEGMENT, SEGMENT_BATCH, SELECT_SERIES)
