"""The queue and the store behind the volumes routes: opened with the gateway, watched, tidied up."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog

from core.blobs.retention import sweep
from core.blobs.store import BlobStore, open_store
from core.contracts.service import DependencyState, ModelSummary
from core.errors import FalxError, QueueUnavailable, UnsafeConfiguration
from core.jobs.queue import JobQueue, open_queue
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

QUEUE: Final = "queue"
BLOBS: Final = "blobs"
# Each look at a store on another machine is a request that somebody may have to pay for.
_BLOBS_EVERY_S: Final = 10.0
_SWEEP_EVERY_S: Final = 300.0
_NOT_SET_RETRY_S: Final = 60.0


class JobBackend:
    """Queue and store, usable between ``open`` and ``close``; absent altogether where ``FALX_REDIS_URL`` is not set."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._queue: JobQueue | None = None
        self._store: BlobStore | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._blobs_seen_s: float | None = None

    @property
    def queue(self) -> JobQueue:
        """The queue. Raises ``QueueUnavailable`` where none is configured."""
        if self._queue is None:
            raise _not_configured()
        return self._queue

    @property
    def store(self) -> BlobStore:
        """The store. Raises ``QueueUnavailable`` where no queue is configured: it would serve nobody."""
        if self._store is None:
            raise _not_configured()
        return self._store

    async def open(self) -> None:
        """Open both; neither need be reachable yet. Raises ``UnsafeConfiguration`` for an address that is none."""
        if self._settings.redis_url is None:
            return
        try:
            self._store = await asyncio.to_thread(open_store, self._settings)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise UnsafeConfiguration(f"FALX_BLOBS_URL: the folder cannot be made: {reason}.") from error
        self._queue = await self._stack.enter_async_context(open_queue(self._settings.redis_url, self._settings))
        self._sweeping = asyncio.create_task(self._sweep_for_ever())

    async def close(self) -> None:
        """Let go of both."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        await self._stack.aclose()

    async def states(self) -> tuple[DependencyState, ...]:
        """Whether queue and store answer; nothing where they are not configured."""
        if self._queue is None:
            return ()
        return tuple(await asyncio.gather(self._state_of_queue(), self._state_of_blobs()))

    async def models(self) -> tuple[ModelSummary, ...]:
        """The models that the workers have, each once; none while the queue is away."""
        try:
            async with asyncio.timeout(self._settings.probe_timeout_s):
                workers = await self.queue.workers() if self._queue is not None else []
        except (TimeoutError, FalxError):
            return ()
        return tuple({(model.name, model.version): model for worker in workers for model in worker.models}.values())

    async def _state_of_queue(self) -> DependencyState:
        try:
            async with asyncio.timeout(self._settings.probe_timeout_s):
                workers = await self.queue.workers()
        except (TimeoutError, FalxError):
            return DependencyState(name=QUEUE, ready=False, detail="The job queue cannot be reached.")
        # Without a worker jobs are accepted all the same: they wait for one.
        return DependencyState(name=QUEUE, ready=True, detail=f"workers: {len(workers)}")

    async def _state_of_blobs(self) -> DependencyState:
        if self._blobs_seen_s is None or time.monotonic() - self._blobs_seen_s > _BLOBS_EVERY_S:
            try:
                async with asyncio.timeout(self._settings.probe_timeout_s):
                    await self.store.ping()
            except (TimeoutError, FalxError):
                self._blobs_seen_s = None
                return DependencyState(name=BLOBS, ready=False, detail="The storage cannot be reached.")
            self._blobs_seen_s = time.monotonic()
        return DependencyState(name=BLOBS, ready=True)

    async def erase(self, job_id: str, prefix: str) -> None:
        """Erase the files under ``prefix``; what cannot be erased now is found by the sweep."""
        try:
            await self.store.erase(prefix)
        except FalxError as error:
            log.warning("files left for the sweep", job_id=job_id, code=error.code)

    async def _sweep_for_ever(self) -> None:
        """Erase what broken-off uploads left, a killed gateway's included. Several gateways may do it at once."""
        # No upload is older than its own limit, so twice that age is nobody's.
        age_s = 2 * self._settings.upload_timeout_s
        while True:
            await asyncio.sleep(min(_SWEEP_EVERY_S, age_s))
            try:
                await sweep(self.store, age_s, self.queue.keeps)
            except FalxError as error:
                log.warning("sweep broken off", code=error.code)
            except Exception:
                log.exception("sweep failed")


def _not_configured() -> QueueUnavailable:
    return QueueUnavailable(
        "Volumes are not served here: the operator has to set FALX_REDIS_URL to a Redis or Valkey server and start a "
        "worker.",
        retry_after_s=_NOT_SET_RETRY_S,
    )
