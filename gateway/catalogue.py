"""What model servers and workers say of themselves: models and whether they are ready, asked all at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import structlog
from pydantic import ValidationError

from core.contracts.service import DependencyState, ModelList, ModelSummary, Readiness
from core.errors import CapacityError, ModelUnavailable, NotFound, UnknownModel
from gateway.upstream import Upstream

log = structlog.get_logger(__name__)

UNKNOWN_RETRY_AFTER_S = 2
# The workers, under which their models are remembered; no upstream is called so.
WORKERS = "workers"

Volumes = Callable[[], Awaitable[tuple[ModelSummary, ...]]]


class Catalogue:
    """The models of all upstreams and, from ``volumes``, of the workers; kept for ``ttl_s`` seconds.

    Who is away keeps its last known models in the list, marked ``ready: false``.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        volumes: Volumes,
        ttl_s: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstreams = upstreams
        self._volumes = volumes
        self._sources = (*(upstream.name for upstream in upstreams), WORKERS)
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._known: dict[str, tuple[ModelSummary, ...]] = {}
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def models(self) -> ModelList:
        """Every model that is served, or was when its server was last heard of.

        Raises:
            ModelUnavailable: no model server has answered yet.
        """
        await self._refresh()
        if not self._known:
            raise ModelUnavailable("No model server can be reached.", retry_after_s=UNKNOWN_RETRY_AFTER_S)
        return ModelList(models=self._models())

    async def model(self, name: str) -> ModelSummary:
        """One model by ``NAME`` or ``NAME@VERSION``; the first listed version when none is named.

        Raises:
            UnknownModel: nobody serves it.
            ModelUnavailable: nobody who answered serves it, but a model server is away and was never heard of.
        """
        _, model = await self._find(name)
        return model

    async def card(self, name: str) -> bytes:
        """The card of one model, UTF-8 Markdown; ``name`` as in ``model``.

        Workers answer no requests. The card of their model comes from a model server that has the bundle too.

        Raises:
            UnknownModel: nobody serves the model.
            NotFound: it has no card.
            ModelUnavailable: as ``model``, or who may have the card cannot be reached.
        """
        source, model = await self._find(name)
        path = f"/v1/models/{model.name}@{model.version}/card"
        all_answered = True
        for upstream in self._upstreams:
            if source not in (upstream.name, WORKERS):
                continue
            try:
                status, body = await upstream.get(path, self._timeout_s)
            except CapacityError:
                all_answered = False
                continue
            if status == HTTPStatus.OK:
                return body
            all_answered &= status == HTTPStatus.NOT_FOUND
        if not all_answered:
            raise ModelUnavailable(
                "The model server that has the card cannot be reached.", retry_after_s=UNKNOWN_RETRY_AFTER_S
            )
        raise NotFound("This model has no card.")

    async def _find(self, name: str) -> tuple[str, ModelSummary]:
        """Who serves a model, and the model."""
        await self._refresh()
        for source in self._sources:
            for model in self._known.get(source, ()):
                if model.answers_to(name):
                    return source, model
        if any(upstream.name not in self._known for upstream in self._upstreams):
            raise ModelUnavailable("A model server cannot be reached.", retry_after_s=UNKNOWN_RETRY_AFTER_S)
        raise UnknownModel("No such model is served here; GET /v1/models lists them.")

    def _models(self) -> tuple[ModelSummary, ...]:
        return tuple(model for source in self._sources for model in self._known.get(source, ()))

    async def _refresh(self) -> None:
        async with self._asking:  # callers who come meanwhile share the answer
            now = self._clock()
            if self._asked_at is not None and now - self._asked_at < self._ttl_s:
                return
            await asyncio.gather(self._ask_workers(), *(self._ask(upstream) for upstream in self._upstreams))
            self._asked_at = self._clock()

    async def _ask(self, upstream: Upstream) -> None:
        try:
            status, body = await upstream.get("/v1/models", self._timeout_s)
            if status == HTTPStatus.OK:
                self._known[upstream.name] = ModelList.model_validate_json(body).models
                return
            reason = f"answered {status}"
        except CapacityError as error:
            reason = error.detail
        except ValidationError:
            reason = "the answer is not a list of models"
        log.warning("models unknown", upstream=upstream.name, reason=reason)
        if upstream.name in self._known:
            self._known[upstream.name] = self._away(upstream.name)

    async def _ask_workers(self) -> None:
        if there := await self._volumes() or self._away(WORKERS):
            self._known[WORKERS] = there

    def _away(self, source: str) -> tuple[ModelSummary, ...]:
        """What was last heard of a source that is silent."""
        return tuple(model.model_copy(update={"ready": False}) for model in self._known.get(source, ()))


async def readiness(upstreams: Sequence[Upstream], timeout_s: float) -> tuple[DependencyState, ...]:
    """The state of each upstream, followed by those of its models (``classifier/tumor-classifier``)."""
    states = await asyncio.gather(*(_readiness_of(upstream, timeout_s) for upstream in upstreams))
    return tuple(state for group in states for state in group)


async def _readiness_of(upstream: Upstream, timeout_s: float) -> tuple[DependencyState, ...]:
    try:
        status, body = await upstream.get("/readyz", timeout_s)
        answer = Readiness.model_validate_json(body)
    except CapacityError as error:
        return (DependencyState(name=upstream.name, ready=False, detail=error.detail),)
    except ValidationError:
        return (DependencyState(name=upstream.name, ready=False, detail=f"gave no readiness but status {status}"),)
    detail = "draining" if answer.draining else "" if answer.ready else "not ready"
    own = DependencyState(name=upstream.name, ready=answer.ready and status == HTTPStatus.OK, detail=detail)
    return (own, *(dep.model_copy(update={"name": f"{upstream.name}/{dep.name}"}) for dep in answer.dependencies))
