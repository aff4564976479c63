"""``python -m segmenter_service worker``: takes jobs from the queue, one at a time, until SIGTERM.

The first SIGTERM or SIGINT lets the running job end, a second one hands it back to the queue, and so does the end of a
supervisor. A port of its own serves /livez, /readyz and /metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import structlog
from fastapi import FastAPI

from core.blobs.retention import job_prefix, sweep
from core.blobs.settings import BlobSettings
from core.blobs.store import BlobStore, open_store
from core.errors import CapacityError, StartupError
from core.http.draining import Drain, watch_parent
from core.http.process import QuietServer, bind, end_after, server_config
from core.http.settings import load_settings
from core.http.shell import create_shell, drain_of
from core.jobs.attempt import Erase
from core.jobs.queue import JobQueue, open_queue
from core.jobs.settings import WorkerSettings
from core.jobs.worker import JobWorker, run_worker
from core.telemetry.logs import configure_logging
from segmenter_service.volumes.health import Health, keep_looking, model_ready
from segmenter_service.volumes.metrics import WorkerMetrics
from segmenter_service.volumes.settings import VolumeSettings

logger = structlog.get_logger("falx.worker")

HANDLER: Final = "segmenter_service.volumes.job:run"
SERVICE: Final = "segmenter-worker"
_DAY_S: Final = 86_400.0
_RETRY_S: Final = 600.0
_HTTP_END_S: Final = 5.0


class VolumeWorker(JobWorker):
    """A worker whose ``/readyz`` says from the first ``stop`` on that it drains."""

    drain: Drain | None = None

    def stop(self) -> None:
        """See ``JobWorker``."""
        if self.drain is not None:
            self.drain.begin()
        super().stop()


def main() -> None:
    """Reads the settings from the environment and works; ends with code 1 and one line where it cannot start."""
    settings = load_settings(VolumeSettings)
    configure_logging(SERVICE, settings.log_level)
    faults: list[str] = []
    try:
        asyncio.run(work(settings, load_settings(WorkerSettings), load_settings(BlobSettings)))
    except* StartupError as errors:
        faults += _details(errors)
    if faults:
        sys.exit("\n".join(f"falx: {fault}" for fault in faults))
    logger.info("stopped")


def _details(errors: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _details(error)
        else:
            yield str(error)


async def work(settings: VolumeSettings, jobs: WorkerSettings, blobs: BlobSettings) -> None:
    """Work until a signal. Raises ``StartupError``, alone or in a group."""
    metrics, health, store = WorkerMetrics(), Health(), open_store(blobs)
    app = create_shell(SERVICE, readiness=health.readiness, metrics=metrics, openapi=False)
    worker = VolumeWorker(jobs, HANDLER, service=SERVICE, observer=metrics, erase=_eraser(store))
    worker.drain = drain_of(app)
    with _serving(app, settings), _ending_with_parent(worker, settings):
        async with open_queue(jobs.redis_url or "", jobs) as queue, _in_background(queue, store, health, metrics):
            if await _prepared(worker, health, settings):
                await run_worker(worker)


def _eraser(store: BlobStore) -> Erase:
    async def erase(job_id: str) -> None:
        await store.erase(job_prefix(job_id))

    return erase


async def _prepared(worker: VolumeWorker, health: Health, settings: VolumeSettings) -> bool:
    """Wait for the model; False where a signal came first."""
    told = asyncio.Event()

    def stop() -> None:
        told.set()
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    signalled = asyncio.create_task(told.wait())
    model = asyncio.create_task(model_ready(health, settings))
    await asyncio.wait({signalled, model}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if not model.done():
        model.cancel()
        return False
    worker.models = (model.result(),)
    return True


@contextmanager
def _serving(app: FastAPI, settings: VolumeSettings) -> Iterator[None]:
    """Health and metrics in a thread of their own: they answer however busy the loop is, and leave signals alone."""
    listener = bind(settings.host, settings.port)
    server = QuietServer(server_config(app, settings))
    thread = threading.Thread(target=server.run, args=([listener],), name="http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_HTTP_END_S)


@contextmanager
def _ending_with_parent(worker: VolumeWorker, settings: VolumeSettings) -> Iterator[None]:
    """Where a supervisor started the worker: hand the running job back and end when it is gone, however it went."""
    loop = asyncio.get_running_loop()

    def leave() -> None:
        worker.stop()
        worker.stop()

    def on_death() -> None:
        end_after(settings)
        # The loop is closed where the worker has ended already.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(leave)

    if settings.parent_fd is not None:
        watch_parent(settings.parent_fd, on_death)
    yield


@asynccontextmanager
async def _in_background(
    queue: JobQueue, store: BlobStore, health: Health, metrics: WorkerMetrics
) -> AsyncIterator[None]:
    """What goes on beside the jobs."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(keep_looking(health, queue, store, metrics)),
            group.create_task(keep_swept(queue, store)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def keep_swept(queue: JobQueue, store: BlobStore) -> None:
    """Erase once a day what no job has any more, until cancelled."""
    while True:
        try:
            await sweep(store, _DAY_S, queue.keeps)
        except CapacityError as error:
            logger.warning("sweep broken off", code=error.code)
            await asyncio.sleep(_RETRY_S)
        else:
            await asyncio.sleep(_DAY_S)
