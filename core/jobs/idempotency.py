"""Idempotency keys: one job for each key, however often the request is sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from core.errors import IdempotencyConflict, IdempotencyKeyReuse, QueueUnavailable
from core.jobs import scripts
from core.jobs.store import JobStore

logger = structlog.get_logger("falx.jobs")

# A gateway that dies while a body comes in blocks its key for so long and no longer.
HOLD_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Intake:
    """A request with or without an idempotency key, while its body comes in.

    ``known`` is the job that the key belongs to already: the body then need only be hashed, not kept.
    """

    key: str | None = None
    held: str = ""
    known: str | None = None
    digest: str | None = None

    def check(self, digest: str) -> None:
        """Raise ``IdempotencyKeyReuse`` unless ``digest`` is that of the body that the key came with first."""
        if self.digest != digest:
            raise IdempotencyKeyReuse("The Idempotency-Key belongs to an earlier request with another body.")


@asynccontextmanager
async def taking_in(store: JobStore, key: str | None) -> AsyncIterator[Intake]:
    """Hold ``key`` while the body comes in; let go of it if no job came of it.

    Raises ``IdempotencyConflict`` while another request holds it. ``key`` must name the caller too.
    """
    if key is None:
        yield Intake()
        return
    name = store.keys.idempotency(key)
    held = json.dumps({"intake": uuid.uuid4().hex})
    answer = await _swap(store, name, "", held)
    if answer != held:
        yield _known(name, answer)
        return
    keeper = asyncio.create_task(_keep(store, name, held))
    try:
        yield Intake(name, held)
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        # Declined once the key belongs to a job.
        with contextlib.suppress(QueueUnavailable):
            await _swap(store, name, held, "")


def settled(job_id: str, digest: str) -> str:
    """What is stored under a key once it belongs to a job."""
    return json.dumps({"job": job_id, "digest": digest}, separators=(",", ":"))


def _known(name: str, stored: str) -> Intake:
    value = json.loads(stored)
    if "job" not in value:
        raise IdempotencyConflict(
            "The first request with this Idempotency-Key is still being taken in.", retry_after_s=1.0
        )
    return Intake(name, stored, value["job"], value["digest"])


async def _keep(store: JobStore, name: str, held: str) -> None:
    while True:
        await asyncio.sleep(HOLD_S / 3)
        try:
            if await _swap(store, name, held, held) != held:
                return
        except QueueUnavailable:
            logger.warning("idempotency key not renewed")


async def _swap(store: JobStore, name: str, before: str, after: str) -> str:
    answer: bytes = await store.run(scripts.SWAP, (name,), (before, after, round(HOLD_S * 1000)))
    return answer.decode()
