"""What ends the time in which a worker only waits, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.jobs.connection import TASK, Dockets, open_dockets
from core.jobs.keys import Keys
from core.jobs.lull import Lull
from core.jobs.settings import QueueSettings
from tests.support.jobs import until

LEASE_S = 2.0
TIMEOUT_S = 0.5
# Well above what anything here takes, and above the longest read.
SOON_S = 20.0


@pytest.fixture
async def dockets(redis_url: str, settings: QueueSettings) -> AsyncIterator[Dockets]:
    """Dockets that workers have opened before, with nothing in them."""
    async with open_dockets(redis_url, Keys(settings.jobs_name)) as dockets:
        for docket in dockets.values():
            async with docket.redis() as client:
                await client.xgroup_create(docket.stream_key, docket.worker_group_name, id="0", mkstream=True)
        yield dockets


@pytest.fixture
def lull(dockets: Dockets) -> Lull:
    return Lull(dockets, LEASE_S, TIMEOUT_S)


@asynccontextmanager
async def waiting(lull: Lull) -> AsyncIterator[asyncio.Task[None]]:
    """The wait for the end of ``lull``, which has begun and goes on."""
    task = asyncio.create_task(lull.end(asyncio.Event()))
    await asyncio.sleep(3 * LEASE_S / 4)
    assert not task.done()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ended(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(SOON_S):
        await task


async def deliver(dockets: Dockets, consumer: str) -> None:
    """Hand the oldest ticket of the routine docket to a worker that is called ``consumer``."""
    docket = dockets["routine"]
    async with docket.redis() as client:
        found = await client.xreadgroup(docket.worker_group_name, consumer, {docket.stream_key: ">"}, count=1)
    assert found


async def test_a_ticket_ends_it_and_is_left_to_the_lanes(lull: Lull, dockets: Dockets) -> None:
    async with waiting(lull) as task:
        await dockets["urgent"].add(TASK, key="a")("a")
        await ended(task)
    assert await lull.work() == ("urgent",)
    await dockets["routine"].add(TASK, key="b")("b")
    assert await lull.work() == ("urgent", "routine")
    await deliver(dockets, "somebody")
    assert await lull.work() == ("urgent",)


async def test_a_ticket_for_later_ends_it(lull: Lull, dockets: Dockets) -> None:
    async with waiting(lull) as task:
        await dockets["routine"].add(TASK, when=datetime.now(UTC) + timedelta(hours=1), key="a")("a")
        await ended(task)
    assert await lull.work() == ("routine",)


async def test_a_ticket_that_somebody_holds_ends_it_only_when_its_lease_has_run_out(
    lull: Lull, dockets: Dockets
) -> None:
    await dockets["routine"].add(TASK, key="a")("a")
    await deliver(dockets, "dead")
    assert await lull.work() == ()
    async with waiting(lull) as task:
        await ended(task)
    assert await lull.work() == ("routine",)


async def test_a_docket_that_no_worker_has_opened_yet_ends_it(redis_url: str, settings: QueueSettings) -> None:
    async with open_dockets(redis_url, Keys(settings.jobs_name)) as dockets:
        lull = Lull(dockets, LEASE_S, TIMEOUT_S)
        async with asyncio.timeout(SOON_S):
            await lull.end(asyncio.Event())
        assert await lull.work() == ("urgent", "routine")


async def test_a_worker_that_has_to_stop_ends_it(lull: Lull) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(lull.end(stop))
    await asyncio.sleep(0.1)
    stop.set()
    await ended(task)
    assert await lull.work() == ()


class Line:
    """A way to the server that can go dead: what is connected then stays connected, and hears nothing any more."""

    def __init__(self, server: Path, own: Path) -> None:
        self._server = server
        self.own = own
        self.dead = False
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def tried(self, connections: int) -> bool:
        return self.connections >= connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_unix_connection(str(self._server))
        self._writers += writer, up_writer
        with suppress(ConnectionError):
            await asyncio.gather(self._pass(reader, up_writer), self._pass(up_reader, writer))
        writer.close()

    async def cut(self) -> None:
        """End every connection, in both directions."""
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if not self.dead:
                target.write(data)
        target.close()


async def test_a_connection_that_dies_unnoticed_is_given_up(
    redis_url: str, settings: QueueSettings, dockets: Dockets, tmp_path: Path
) -> None:
    line = Line(Path(redis_url.removeprefix("unix://")), tmp_path / "line.sock")
    server = await asyncio.start_unix_server(line.serve, str(line.own))
    async with open_dockets(f"unix://{line.own}", Keys(settings.jobs_name)) as far:
        lull = Lull(far, LEASE_S, TIMEOUT_S)
        async with waiting(lull) as task:
            line.dead = True
            before = line.connections
            await dockets["routine"].add(TASK, key="a")("a")
            await until(lambda: line.tried(before + 2), "new connections", SOON_S)
            assert not task.done()
            line.dead = False
            await ended(task)
        assert await lull.work() == ("routine",)
    server.close()
    await line.cut()
