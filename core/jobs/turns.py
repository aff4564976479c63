"""Whose turn it is: which of the waiting jobs a delivery of the docket is for.

A docket delivers in the order in which jobs were enqueued. So a delivery is a ticket and no more: it says that one of
the waiting jobs may start, and the job is the one whose turn it is (``scripts`` has the order). What a ticket was used
for is remembered, so that its redelivery after the death of a worker goes on with the same job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Container
from typing import Final

from core.contracts.jobs import JobRecord, Priority
from core.jobs.connection import reaching
from core.jobs.store import JobStore, OwnerBusy

# Longer than any job takes; what is forgotten by then is found by the upkeep.
_REMEMBERED_S: Final = 86_400.0

Begin = Callable[[str], Awaitable[JobRecord | None]]


class Held(Exception):
    """The job is being worked on by another attempt."""


class AllBusy(Exception):
    """Every waiting job is of an owner as many of whose jobs run as may, or is being begun by somebody else."""


class Turns:
    """Tickets of one priority. ``token`` is the attempt's own; ``lease_s`` that of its claim on a job."""

    def __init__(self, store: JobStore, priority: Priority, token: str, lease_s: float) -> None:
        self._store = store
        self._priority: Priority = priority
        self._token = token
        self._lease_s = lease_s

    async def take(self, ticket: str, begin: Begin) -> JobRecord | None:
        """The job that ``ticket`` is for, held and begun with ``begin``; None where there is nothing to do.

        Raises ``Held``, ``AllBusy`` and ``QueueUnavailable``: the ticket is to be put back.
        """
        record = await self._go_on(ticket, begin)
        if record is not None:
            return record
        blocked, busy = False, set[str | None]()
        async for job_id, owner in self._candidates(busy):
            try:
                record = await self._begin(ticket, job_id, begin)
            except OwnerBusy:
                busy.add(owner)
            except Held:
                blocked = True
            if record is not None:
                return record
        if blocked or busy:
            raise AllBusy
        return None

    async def _go_on(self, ticket: str, begin: Begin) -> JobRecord | None:
        """The job that the ticket was used for, or else its own, if that has been begun and nobody works on it."""
        used = await used_for(self._store, ticket)
        for job_id in (used, ticket):
            if job_id is None or not await self._has_begun(job_id):
                continue
            try:
                if record := await self._begin(ticket, job_id, begin):
                    return record
            except Held:
                if job_id == used:
                    raise
        return None

    async def settle(self, ticket: str) -> None:
        """Forget what the ticket was used for."""
        async with reaching(self._store.timeout_s):
            await self._store.client.delete(self._store.keys.turn(ticket))

    async def _begin(self, ticket: str, job_id: str, begin: Begin) -> JobRecord | None:
        """Hold a job and begin it; let it go unless it was. Raises ``Held`` where somebody else has it."""
        if not await self._store.hold(job_id, self._token, self._lease_s):
            raise Held
        record = None
        try:
            async with reaching(self._store.timeout_s):
                key = self._store.keys.turn(ticket)
                await self._store.client.set(key, job_id, px=round(_REMEMBERED_S * 1000))
            record = await begin(job_id)
        finally:
            if record is None:
                await self._store.release(job_id, self._token)
        return record

    async def _has_begun(self, job_id: str) -> bool:
        """Whether a job has been begun and has not ended: on this ticket, or left behind by whoever began it."""
        record = await self._store.find(job_id)
        return record is not None and not record.terminal and record.attempts > 0

    async def _candidates(self, busy: Container[str | None]) -> AsyncIterator[tuple[str, str | None]]:
        """Waiting jobs in order, with their owners: none of ``busy`` ones, none that waits for another attempt."""
        for job_id in await self._store.ids(self._store.keys.waiting(self._priority)):
            record = await self._store.find(job_id)
            if record is not None and record.status == "queued" and not record.attempts and record.owner not in busy:
                yield job_id, record.owner


async def used_for(store: JobStore, ticket: str) -> str | None:
    """The job that a ticket has been used for; None where it has not, or is settled. Raises ``QueueUnavailable``."""
    async with reaching(store.timeout_s):
        found = await store.client.get(store.keys.turn(ticket))
    return found.decode() if isinstance(found, bytes) else None
