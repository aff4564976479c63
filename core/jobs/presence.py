"""Which workers are there, and with which models: what they say of themselves every few seconds."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Final, cast

from pydantic import ValidationError

from core.contracts.base import Contract
from core.contracts.service import ModelSummary
from core.jobs.connection import reaching
from core.jobs.store import JobStore, now

# Three times the interval at which workers say so.
_PRESENT_S: Final = 30.0


class Presence(Contract):
    """A sign of life of a worker."""

    worker: str
    seen_at: datetime
    models: tuple[ModelSummary, ...] = ()


async def announce(store: JobStore, worker: str, models: tuple[ModelSummary, ...]) -> None:
    """Say that the worker is there. Raises ``QueueUnavailable``."""
    sign = Presence(worker=worker, seen_at=now(), models=models).model_dump_json()
    async with reaching(store.timeout_s):
        await store.client.hset(store.keys.workers, worker, sign)


async def withdraw(store: JobStore, *workers: str) -> None:
    """Take workers out of the list. Raises ``QueueUnavailable``."""
    if workers:
        async with reaching(store.timeout_s):
            await store.client.hdel(store.keys.workers, *workers)


async def present(store: JobStore) -> list[Presence]:
    """The workers that were there within half a minute, by name; older signs are erased.

    Raises ``QueueUnavailable``.
    """
    async with reaching(store.timeout_s):
        stored = await cast("Awaitable[dict[bytes, bytes]]", store.client.hgetall(store.keys.workers))
    oldest = now() - timedelta(seconds=_PRESENT_S)
    there, gone = [], []
    for name, sign in sorted(stored.items()):
        try:
            presence = Presence.model_validate_json(sign)
        except ValidationError:
            # Newer code has fields that this code does not know: it is there, but what it says cannot be read.
            continue
        if presence.seen_at >= oldest:
            there.append(presence)
        else:
            gone.append(name.decode())
    await withdraw(store, *gone)
    return there
