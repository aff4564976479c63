"""What somebody has to do now and then: enqueue what was left behind, erase what is past its time."""

from __future__ import annotations

import time
from typing import Final

import structlog

from core.errors import FalxError, StorageUnavailable
from core.jobs.attempt import Erase
from core.jobs.connection import TASK, Dockets, reaching
from core.jobs.settings import QueueSettings
from core.jobs.store import JobStore

logger = structlog.get_logger("falx.jobs.upkeep")

# A gateway puts a job into the docket within moments of its record; what is older was left behind.
_GRACE_S: Final = 5.0


class Upkeep:
    """Done by one worker at a time, whichever comes first; ``name`` tells them apart."""

    def __init__(
        self, dockets: Dockets, store: JobStore, settings: QueueSettings, lease_s: float, erase: Erase | None, name: str
    ) -> None:
        self._dockets = dockets
        self._store = store
        self._settings = settings
        self._lease_s = lease_s
        self._erase = erase
        self._name = name
        # Running jobs whose attempt gives no sign of life, and since when.
        self._silent: dict[str, float] = {}

    async def run(self, every_s: float) -> None:
        """One round, unless another worker did it less than ``every_s`` seconds ago. Never raises for want of Redis."""
        try:
            async with reaching(self._store.timeout_s):
                mine = await self._store.client.set(
                    self._store.keys.upkeep, self._name, nx=True, px=round(every_s * 900)
                )
            if mine:
                await self.recover()
                await self.purge()
        except FalxError as error:
            logger.warning("upkeep broken off", code=error.code)

    async def recover(self) -> None:
        """Enqueue every job that waits, and every running one that nobody works on.

        A docket ignores a job that it has already. This is what the promise rests on that no accepted job is lost: it
        holds for a gateway that died between the record and the docket, too.
        """
        up_to = (time.time() - _GRACE_S) * 1000
        for job_id in await self._store.ids(self._store.keys.status("queued"), up_to):
            await self._enqueue(job_id)
        for job_id in await self._silent_for(2 * self._lease_s):
            logger.warning("job found without a worker", job_id=job_id)
            await self._enqueue(job_id)

    async def _silent_for(self, limit_s: float) -> list[str]:
        moment = time.monotonic()
        active = await self._store.ids(self._store.keys.active)
        silent: dict[str, float] = {}
        for job_id in active:
            async with reaching(self._store.timeout_s):
                alive = await self._store.client.exists(self._store.keys.claim(job_id))
            if not alive:
                silent[job_id] = self._silent.get(job_id, moment)
        self._silent = silent
        return [job_id for job_id, since in silent.items() if moment - since > limit_s]

    async def _enqueue(self, job_id: str) -> None:
        record = await self._store.find(job_id)
        if record is not None and not record.terminal:
            async with reaching(self._store.timeout_s):
                await self._dockets[record.request.priority].add(TASK, key=job_id)(job_id)

    async def purge(self) -> None:
        """Erase the files of every job past its time, then the job itself; without ``erase``, nothing."""
        if self._erase is None:
            return
        for job_id in await self._store.ids(self._store.keys.expiry, time.time() * 1000):
            try:
                await self._erase(job_id)
            except StorageUnavailable:
                continue
            await self._store.erase(job_id, self._settings.job_tombstone_s)
            logger.info("job erased", job_id=job_id)
