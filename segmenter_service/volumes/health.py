"""Whether a worker can do its work: what it needs, as the last look found it."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import structlog

from core.blobs.store import BlobStore
from core.contracts.service import DependencyState, ModelSummary, Readiness
from core.errors import CapacityError
from core.jobs.queue import JobQueue
from segmenter_service.volumes.metrics import WorkerMetrics
from segmenter_service.volumes.model import TASK, find_model, open_model
from segmenter_service.volumes.settings import VolumeSettings

logger = structlog.get_logger("falx.worker")

_LOOK_S: Final = 5.0
_MODEL_S: Final = 5.0


class Health:
    """Written by the worker's loop, read by the thread that answers ``/readyz``."""

    def __init__(self) -> None:
        self._states = {
            name: DependencyState(name=name, ready=False, detail="not looked at yet")
            for name in ("model", "queue", "storage")
        }

    def note(self, what: str, state: DependencyState) -> None:
        """What was found of ``model``, ``queue`` or ``storage``."""
        self._states[what] = state

    def readiness(self) -> Readiness:
        """The answer of ``/readyz``."""
        states = tuple(self._states.values())
        return Readiness(ready=all(state.ready for state in states), dependencies=states)


async def keep_looking(health: Health, queue: JobQueue, store: BlobStore, metrics: WorkerMetrics) -> None:
    """Look at queue and storage every few seconds, until cancelled."""
    while True:
        try:
            metrics.queue(await queue.depth(), await queue.counts(), await queue.dead_letters())
            health.note("queue", DependencyState(name="queue", ready=True))
        except CapacityError as error:
            health.note("queue", DependencyState(name="queue", ready=False, detail=error.detail))
        try:
            await store.ping()
            health.note("storage", DependencyState(name="storage", ready=True))
        except CapacityError as error:
            health.note("storage", DependencyState(name="storage", ready=False, detail=error.detail))
        await asyncio.sleep(_LOOK_S)


async def model_ready(health: Health, settings: VolumeSettings) -> ModelSummary:
    """The model, once there is one and it has been loaded whole.

    Until then no job is taken: another worker may have the model, and a job that waits is not lost. Raises
    BundleCorrupt, ProviderMissing.
    """
    missing = DependencyState(
        name="model", ready=False, detail=f"no bundle of task {TASK} in {settings.models_dir}: jobs wait"
    )
    health.note("model", missing)
    if not await _found(settings):
        logger.warning("no model for volumes: no job is taken", models_dir=str(settings.models_dir))
        while not await _found(settings):  # noqa: ASYNC110  nobody could set an event: a folder is filled
            await asyncio.sleep(_MODEL_S)
    summary = await _tried(settings)
    health.note(
        "model",
        DependencyState(
            name=summary.name,
            ready=True,
            detail=summary.variant,
            provider=summary.provider,
            version=summary.version,
        ),
    )
    return summary


async def _found(settings: VolumeSettings) -> bool:
    return await asyncio.to_thread(find_model, settings) is not None


async def _tried(settings: VolumeSettings) -> ModelSummary:
    # In a process of its own: the worker itself never holds a network, nor the memory of a GPU.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, describe_model, settings)


def describe_model(settings: VolumeSettings) -> ModelSummary:
    """Load the model and say what it is. Raises BundleCorrupt, ProviderMissing, ModelUnavailable."""
    model = open_model(settings)
    return ModelSummary.of(model.bundle.manifest, model.file, model.session.provider)
