"""Waiting for work without asking for it again and again.

Where nothing waits a worker has no lanes, and reads from the end of each docket's stream: the read blocks at the
server, takes nothing, and returns when a ticket comes. What wakes no reader is looked for between two reads: tickets
that were put back for later, and those of a worker that has died.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from docket import Docket
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from core.contracts.jobs import PRIORITIES, Priority
from core.errors import QueueUnavailable
from core.jobs.connection import Dockets, reaching

# The longest that one read blocks; what is left behind by the dead is found so soon after its lease has run out.
_READ_S: Final = 7.5
_RECONNECT_S: Final = 1.0


class Lull:
    """The time in which the dockets hold nothing that a lane could take.

    ``lease_s`` is that of a delivery. A read that has not returned ``timeout_s`` seconds after its time is given up:
    its connection has died unnoticed.
    """

    def __init__(self, dockets: Dockets, lease_s: float, timeout_s: float) -> None:
        self._dockets = dockets
        self._lease_ms = round(lease_s * 1000)
        self._read_s = min(_READ_S, lease_s / 4)
        self._timeout_s = timeout_s

    async def end(self, stop: asyncio.Event) -> None:
        """Wait until something is there or ``stop`` is set, however long Redis is away."""
        waits: list[asyncio.Task[object]] = [
            asyncio.create_task(self._stirred(self._dockets[priority])) for priority in PRIORITIES
        ]
        waits.append(asyncio.create_task(stop.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def work(self) -> tuple[Priority, ...]:
        """The priorities with something to take now or soon; none where Redis does not answer."""
        try:
            return tuple([p for p in PRIORITIES if await self._look(self._dockets[p], block_s=None)])
        except QueueUnavailable:
            return ()

    async def _stirred(self, docket: Docket) -> None:
        while True:
            try:
                if await self._look(docket, self._read_s):
                    return
            except QueueUnavailable:
                await asyncio.sleep(_RECONNECT_S)

    async def _look(self, docket: Docket, block_s: float | None) -> bool:
        """Whether a lane would find something, after up to ``block_s`` seconds. Raises ``QueueUnavailable``."""
        async with reaching(self._timeout_s + (block_s or 0.0)), docket.redis() as promised:
            client = cast("Redis", promised)
            delivered = await _last_delivered(client, docket)
            # Without a group the lanes have to make one. A ticket for later becomes due in an open lane.
            if delivered is None or await client.zcard(docket.queue_key) or await self._left_behind(client, docket):
                return True
            block = None if block_s is None else max(1, round(block_s * 1000))
            return bool(await client.xread({docket.stream_key: delivered}, count=1, block=block))

    async def _left_behind(self, client: Redis, docket: Docket) -> bool:
        """Whether a delivery is held whose lease nobody has renewed in time."""
        held = await client.xpending_range(
            docket.stream_key, docket.worker_group_name, min="-", max="+", count=1, idle=self._lease_ms
        )
        return bool(held)


async def _last_delivered(client: Redis, docket: Docket) -> str | None:
    """The id after which no ticket has been delivered; None where there is no group of workers yet."""
    try:
        groups = await client.xinfo_groups(docket.stream_key)
    except ResponseError:
        return None
    found = (group["last-delivered-id"] for group in groups if group["name"] == docket.worker_group_name.encode())
    return next((identifier.decode() for identifier in found), None)
