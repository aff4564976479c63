"""A whole model server but for its own route: models, Open Inference V2, readiness, shell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter, FastAPI

from core.contracts.operations.operation import Operation
from core.contracts.operations.service import MODELS
from core.contracts.service import Readiness
from core.contracts.tensors import Task
from core.http.shell import create_shell, drain_of
from core.serving.model_server import ModelRegistry, models_router
from core.serving.providers.choice import ProviderChoice
from core.serving.settings import ModelServingSettings
from core.serving.slice_requests import warm_preprocessing
from core.serving.v2 import v2_router
from core.telemetry.metrics import ModelMetrics


def create_model_app(
    name: str,
    task: Task,
    settings: ModelServingSettings,
    make_routes: Callable[[ModelRegistry], APIRouter],
    *operations: Operation,
) -> FastAPI:
    """The service ``name`` for all bundles of one task, with ``operations`` of its own on top of those of every one.

    ``make_routes`` gets the registry, which is filled when the application starts: every model is then loaded and
    warmed up before the port is listened on. A bundle that is not sound ends the start with a ``StartupError``.
    """
    metrics = ModelMetrics()
    registry = ModelRegistry(settings, task, metrics)

    choice = ProviderChoice(settings, registry)

    async def load() -> None:
        await asyncio.to_thread(registry.load)
        await registry.offload(warm_preprocessing)
        choice.start()

    async def stop() -> None:
        await choice.drain()
        await registry.drain()

    def readiness() -> Readiness:
        return Readiness(ready=registry.ready, dependencies=registry.dependencies())

    app = create_shell(
        name,
        readiness=readiness,
        metrics=metrics,
        on_start=load,
        on_stop=stop,
        openapi=settings.openapi,
        operations=(*operations, *MODELS),
    )
    app.include_router(make_routes(registry))
    app.include_router(models_router(registry))
    drain = drain_of(app)
    app.include_router(v2_router(registry, settings, metrics, ready=lambda: registry.ready and not drain.active))
    return app
