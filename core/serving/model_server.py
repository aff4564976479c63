"""What the model servers share: loading, warm-up, the batcher of each model, decode threads, who is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import structlog
from fastapi import APIRouter, Response

from core.contracts.common import TimingMs
from core.contracts.manifest import BundleFile
from core.contracts.operations.service import DESCRIBE_MODEL, LIST_MODELS, READ_MODEL_CARD
from core.contracts.service import DependencyState, ModelList, ModelSummary
from core.contracts.tensors import Task
from core.errors import BundleCorrupt, NotReady, ProviderMissing, UnknownModel
from core.imaging.patience import while_waited_for
from core.runtime.bundle import Bundle, find_bundles, version_key
from core.runtime.cpus import usable_cpus
from core.runtime.memory import keep_freed_memory
from core.runtime.openvino.plug_in import why_not
from core.runtime.providers import CUDA
from core.runtime.session import Session, SessionPool
from core.runtime.tensors import check_tensors
from core.serving.batcher import Batcher, Ticket
from core.serving.cards import find_folder, read_card
from core.serving.schedule import Limits
from core.serving.served_model import (
    MetricsObserver,
    RowOutputs,
    ServedModel,
    row_forward,
    typical_row,
)
from core.serving.settings import ModelServingSettings
from core.serving.warmup import WarmUp, powers_of_two, run_sizes, warm_up
from core.telemetry.metrics import ModelMetrics

__all__ = ["ModelRegistry", "RowOutputs", "ServedModel", "models_router"]

Array = npt.NDArray[Any]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

logger = structlog.get_logger("falx.models")

# Batches tried at warm-up; a GPU still gains where a CPU core has long been saturated.
LARGEST_BATCH_CPU = 8
LARGEST_BATCH_CUDA = 32
MAX_DECODE_THREADS = 4
# One image gains little from more.
MAX_LONE_THREADS = 4


class Prepared(Protocol):
    """What a service made of a request."""

    @property
    def tensor(self) -> npt.NDArray[np.float32]:
        """One row of the network's input."""
        ...


P = TypeVar("P", bound=Prepared)


@dataclass(frozen=True, slots=True)
class Answered(Generic[P]):
    """What was prepared, what the network says of it, and how long that took."""

    prepared: P
    outputs: RowOutputs
    timing: TimingMs


class ModelRegistry:
    """All models of one task that this process serves. Empty, and not ready, until ``load`` has returned.

    ``metrics`` is where everything that they do is counted.
    """

    def __init__(self, settings: ModelServingSettings, task: Task, metrics: ModelMetrics) -> None:
        self._settings = settings
        self._task: Task = task
        self.metrics = metrics
        self._models: tuple[ServedModel, ...] = ()
        self._pool = ThreadPoolExecutor(
            settings.decode_threads or min(MAX_DECODE_THREADS, usable_cpus()), thread_name_prefix="decode"
        )
        cv2.setNumThreads(1)  # the pool is the parallelism; OpenCV's own threads would fight with it

    @property
    def task(self) -> Task:
        """What all of its models do."""
        return self._task

    @property
    def ready(self) -> bool:
        """Whether every model is loaded, warmed up and on the provider that it must be on."""
        return bool(self._models)

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """Every version of every model, the default model first, newest version first."""
        return self._models

    def load(self) -> None:
        """Load, check, warm up and start every model. Blocks for seconds: call it off the event loop.

        Raises BundleCorrupt when there is no model or one is not sound, ProviderMissing where a provider is asked for
        that is not here.
        """
        bundles = find_bundles(self._settings.models_dir, self._task, self._settings.models)
        if not bundles:
            raise BundleCorrupt(f"{self._settings.models_dir.resolve()} holds no {self._task} bundle.")
        bundles.sort(key=version_key, reverse=True)
        bundles.sort(key=lambda bundle: self._rank(bundle.manifest.name))
        settings = self._settings
        if settings.provider == "openvino" and (reason := why_not()):
            raise ProviderMissing(f"FALX_PROVIDER is openvino. {reason}")
        pool = SessionPool(
            settings.precision,
            provider=settings.provider,
            require_cuda=settings.require_cuda,
            lone_threads=settings.lone_threads or min(MAX_LONE_THREADS, usable_cpus()),
        )
        models: list[ServedModel] = []
        for bundle in bundles:
            models.append(self._serve(bundle, *pool.open(bundle), models))
        # What loading has freed goes back to the system; what requests free from here on is for those behind them.
        keep_freed_memory()
        self._models = tuple(models)

    def replace(self, old: Sequence[ServedModel], new: Sequence[ServedModel]) -> None:
        """Let each of ``new`` answer from now on instead of the one of ``old`` at its place; on the event loop.

        Requests that have found the old one finish with it.
        """
        by_old = {id(before): after for before, after in zip(old, new, strict=True)}
        self._models = tuple(by_old.get(id(served), served) for served in self._models)
        for before, after in zip(old, new, strict=True):
            self.metrics.active_provider.labels(before.name, before.session.provider).set(0)
            self.metrics.active_provider.labels(after.name, after.session.provider).set(1)

    def start(self, bundle: Bundle, session: Session) -> Batcher[RowOutputs]:
        """A running batcher before ``session``, warmed up."""
        forward = row_forward(session)
        alone = row_forward(session, alone=True) if session.splits_lone_runs else None
        measured = self._warm_up(bundle, session, forward)
        if alone is not None:
            alone(typical_row(session.inputs[0], bundle.manifest.image_size)[np.newaxis])
        name = bundle.manifest.name
        logger.info("model warmed up", model=name, ms_per_image=round(measured.service_s * 1000, 2))
        batcher = Batcher(
            forward,
            Limits(max_queue=self._settings.max_queue, max_rows=measured.max_rows),
            alone=alone,
            runners=session.runners,
            # Every new batch size makes CUDA choose its kernels anew; a CPU takes any size as it comes.
            buckets=measured.sizes if session.provider == CUDA else (),
            service_s=measured.service_s,
            observer=MetricsObserver(self.metrics, name),
            name=name,
        )
        self.metrics.queue_depth.labels(name).set_function(lambda: batcher.waiting)
        return batcher.start()

    def resolve(self, model: str | None = None) -> ServedModel:
        """The model called ``NAME`` (its newest version) or ``NAME@VERSION``; None is the default model.

        Raises UnknownModel, naming those there are, and NotReady while loading.
        """
        if not self._models:
            raise NotReady("The models are still being loaded.", retry_after_s=2)
        if model is None:
            return self._models[0]
        name, _, version = model.partition("@")
        for served in self._models:
            if served.name == name and version in ("", served.version):
                return served
        known = ", ".join(f"{served.name}@{served.version}" for served in self._models)
        raise UnknownModel(f"No such model is served here. Known: {known}.")

    def summaries(self) -> ModelList:
        """Answer of ``GET /v1/models``."""
        return ModelList(models=tuple(served.summary() for served in self._models))

    def card(self, model: str) -> bytes:
        """The card of a model that is served here, or of any other bundle in the folder by its ``NAME@VERSION``.

        Workers answer no callers, but their bundles lie beside: the gateway asks here for their cards. Blocks. Raises
        UnknownModel, NotFound where the bundle has no card, and NotReady while loading.
        """
        try:
            folder = self.resolve(model).bundle.path
        except UnknownModel:
            beside = find_folder(self._settings.models_dir, model)
            if beside is None:
                raise
            folder = beside
        return read_card(folder)

    def dependencies(self) -> tuple[DependencyState, ...]:
        """The models as ``/readyz`` shows them."""
        if not self._models:
            return (DependencyState(name="models", ready=False, detail="loading"),)
        return tuple(
            DependencyState(
                name=served.name,
                ready=True,
                detail=served.state,
                provider=served.session.provider,
                version=served.version,
            )
            for served in self._models
        )

    async def prepare_and_run(
        self,
        ticket: Ticket[RowOutputs],
        prepare: Callable[Parameters, P],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Answered[P]:
        """Run ``prepare`` on a decode thread, count its time, and what it has prepared through the network."""

        def make() -> tuple[tuple[P, float], Array]:
            with while_waited_for(lambda: ticket.left_s):
                timed = self._timed(prepare, *args, **kwargs)
            return timed, timed[0].tensor

        (prepared, decode_s), outcome = await ticket.submit_made(self._pool, make)
        timing = TimingMs(decode=decode_s * 1000, queue=outcome.queue_s * 1000, inference=outcome.inference_s * 1000)
        return Answered(prepared, outcome.value, timing)

    async def decode(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Run ``function`` on a decode thread and count its time. Take a ticket first: it bounds what waits here."""
        timed: tuple[Result, float] = await self.offload(self._timed, function, *args, **kwargs)
        return timed[0]

    async def offload(self, function: Callable[..., Result], *args: object, **kwargs: object) -> Result:
        """Run ``function`` on one of the decode threads, uncounted: for what would hold up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *args, **kwargs))

    async def drain(self) -> None:
        """Finish every admitted request and end all threads."""
        await asyncio.gather(*(batcher.drain() for batcher in {served.batcher for served in self._models}))
        self._pool.shutdown(wait=False)

    def _timed(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> tuple[Result, float]:
        """The result, and the seconds that it took."""
        started = time.perf_counter()
        try:
            result = function(*args, **kwargs)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.decode_seconds.observe(seconds)
        return result, seconds

    def _rank(self, name: str) -> tuple[int, bool, str]:
        configured = self._settings.models
        place = configured.index(name) if name in configured else len(configured)
        return place, not name.startswith("tumor-"), name

    def _serve(self, bundle: Bundle, file: BundleFile, session: Session, running: Sequence[ServedModel]) -> ServedModel:
        check_tensors(bundle, session)
        name = bundle.manifest.name
        # What a shared batcher does is counted under the model that was loaded first.
        first = next((served for served in running if served.session is session), None)
        served = ServedModel(bundle, file, session, first.batcher if first else self.start(bundle, session))
        self.metrics.active_provider.labels(name, session.provider).set(1)
        logger.info(
            "model ready",
            model=name,
            version=bundle.manifest.version,
            variant=file.variant,
            provider=session.provider,
            runners=session.runners,
            max_batch=served.batcher.limits.max_rows,
            shares_weights_of=first.name if first else None,
        )
        return served

    def _warm_up(self, bundle: Bundle, session: Session, forward: Callable[[Array], Sequence[RowOutputs]]) -> WarmUp:
        row = typical_row(session.inputs[0], bundle.manifest.image_size)
        if self._settings.max_batch is not None:
            return run_sizes(forward, row, powers_of_two(self._settings.max_batch))
        return warm_up(
            forward, row, powers_of_two(LARGEST_BATCH_CUDA if session.provider == CUDA else LARGEST_BATCH_CPU)
        )


def models_router(registry: ModelRegistry) -> APIRouter:
    """The routes of models in ``core.contracts.operations.service``."""
    router = APIRouter()

    @router.get(LIST_MODELS.path, include_in_schema=False)
    async def list_models() -> ModelList:
        return registry.summaries()

    @router.get(DESCRIBE_MODEL.path, include_in_schema=False)
    async def describe_model(name: str) -> ModelSummary:
        return registry.resolve(name).summary()

    @router.get(READ_MODEL_CARD.path, include_in_schema=False)
    async def model_card(name: str) -> Response:
        return Response(await registry.offload(registry.card, name), media_type="text/markdown")

    return router
