"""Puts the classifier together."""

from __future__ import annotations

from fastapi import FastAPI

from classifier_service.routes import classification_router
from classifier_service.settings import ClassifierSettings
from core.contracts.operations.analyses import CLASSIFY_PART
from core.contracts.operations.batches import CLASSIFY_BATCH
from core.contracts.operations.slices import CLASSIFY
from core.serving.model_app import create_model_app


def create_app(settings: ClassifierSettings) -> FastAPI:
    """The service as an ASGI application; models are loaded and warmed up when it starts."""
    return create_model_app(
        "classifier",
        "classification",
        settings,
        lambda registry: classification_router(registry, settings),
        CLASSIFY,
        CLASSIFY_BATCH,
        CLASSIFY_PART,
    )
