"""Puts the segmenter together."""

from __future__ import annotations

from fastapi import FastAPI

from core.contracts.operations.batches import SEGMENT_BATCH
from core.contracts.operations.slices import SEGMENT
from core.serving.model_app import create_model_app
from segmenter_service.slices.routes import segmentation_router
from segmenter_service.slices.settings import SegmenterSettings


def create_app(settings: SegmenterSettings) -> FastAPI:
    """The service as an ASGI application; models are loaded and warmed up when it starts."""
    return create_model_app(
        "segmenter",
        "segmentation",
        settings,
        lambda registry: segmentation_router(registry, settings),
        SEGMENT,
        SEGMENT_BATCH,
    )
