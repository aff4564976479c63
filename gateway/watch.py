"""Keeps the state of all dependencies at hand, so that ``/readyz`` answers at once even when one of them hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from core.contracts.service import DependencyState, Readiness
from gateway.catalogue import readiness
from gateway.upstream import Upstream


class Watch:
    """Asks every upstream for its readiness every ``interval_s`` seconds, and ``backend`` for all other states."""

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        interval_s: float,
        timeout_s: float,
        backend: Callable[[], Awaitable[tuple[DependencyState, ...]]],
    ) -> None:
        self._backend = backend
        self._upstreams = upstreams
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._states = tuple(DependencyState(name=up.name, ready=False, detail="not asked yet") for up in upstreams)
        self._task: asyncio.Task[None] | None = None

    def readiness(self) -> Readiness:
        """The last known state: ready when every upstream, every model of it and everything else is."""
        return Readiness(ready=all(state.ready for state in self._states), dependencies=self._states)

    async def start(self) -> None:
        """Ask once, so that the first ``/readyz`` knows, and go on in the background."""
        await self._ask()
        self._task = asyncio.create_task(self._ask_for_ever())

    async def stop(self) -> None:
        """End the background task."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _ask(self) -> None:
        models, rest = await asyncio.gather(readiness(self._upstreams, self._timeout_s), self._backend())
        self._states = (*models, *rest)

    async def _ask_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self._ask()
