"""``python -m tests.support.full_disk FOLDER``: the queue's server and its keeper on a small disk that is full.

Run it where FOLDER is a file system of its own, of a few megabytes (``on_a_small_disk``). Prints as JSON what was seen.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core.contracts.jobs import JobRequest
from core.errors import QueueUnavailable
from core.jobs.embedded import EmbeddedValkey
from core.jobs.queue import open_queue
from deploy.queue_server import QueueServer
from tests.fixtures.servers import ROOT
from tests.support.jobs import settings, until

_MOUNT = 'mount -t tmpfs -o size=8m tmpfs "$1" && shift && exec "$@"'
# An eighth of it.
_RESERVE = 1024 * 1024
_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def on_a_small_disk(folder: Path) -> dict[str, Any] | None:
    """What was seen on a disk of 8 MB; None where this machine lets nobody mount one."""
    with suppress(FileNotFoundError):
        probe = [*_NAMESPACE, _MOUNT, "sh", str(folder), "true"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            command = [*_NAMESPACE, _MOUNT, "sh", str(folder), sys.executable, "-m", __name__, str(folder)]
            output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300).stdout
            seen: dict[str, Any] = json.loads(output.splitlines()[-1])  # before it stands the log
            return seen
    return None


def fill(folder: Path) -> None:
    """Leave not a byte."""
    with suppress(OSError), (folder / "filler").open("ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def fails_when_full(folder: Path, client: Redis) -> bool:
    """Fill what is left; whether the server then fails to write."""
    fill(folder)
    return not answers(client, bytes(1000))


def reserved(folder: Path) -> int:
    """Bytes of the disk that the keeper holds back."""
    path = folder / "queue" / "reserve"
    return path.stat().st_blocks * 512 if path.exists() else 0


def answers(client: Redis, value: bytes = b"1") -> bool:
    """Whether the server takes a write."""
    try:
        return bool(client.set("probe", value))
    except (RedisError, OSError):
        return False


async def insisted(ask: Callable[[], Awaitable[Any]]) -> Any:
    """The answer, once the server is there."""

    async def patient() -> Any:
        with suppress(QueueUnavailable):
            return await ask()

    return await until(patient, "an answer of the queue")


async def watch(folder: Path) -> dict[str, Any]:
    """Fill the disk twice: once for callers who make room, once for longer than the reserve lasts."""
    server = QueueServer(folder / "queue")
    with ExitStack() as stack:
        address = server.start()
        stack.callback(server.stop)
        seen = await filled_twice(folder, address)
    seen["left behind"] = [path.name for path in (folder / "queue").glob("reserve")]
    return seen


async def filled_twice(folder: Path, address: str) -> dict[str, Any]:
    """What is seen meanwhile."""
    first = EmbeddedValkey(folder / "queue").pid()
    client = Redis(unix_socket_path=address.removeprefix("unix://"), socket_timeout=5, retry=Retry(NoBackoff(), 0))
    await until(lambda: asyncio.sleep(0, reserved(folder) >= _RESERVE), "a reserve")
    seen: dict[str, Any] = {}
    async with open_queue(address, settings()) as queue:
        jobs = [(await queue.submit(JobRequest(), ())).record.id for _ in range(3)]
        seen["down"] = await until(lambda: asyncio.sleep(0, fails_when_full(folder, client)), "a full disk")
        seen["ended"] = (await insisted(lambda: queue.cancel(jobs[0]))).status
        await queue.delete(jobs[0])
        seen["reserve"] = reserved(folder)
        until_s = time.monotonic() + 6
        while time.monotonic() < until_s:
            fill(folder)
            if not answers(client, bytes(60_000)):
                await asyncio.sleep(0.2)
        seen["down again"] = not answers(client, bytes(60_000))
        (folder / "filler").unlink()
        await until(lambda: asyncio.sleep(0, answers(client)), "the server", limit_s=60)
        seen["kept"] = [(await insisted(partial(queue.get, job))).status for job in jobs[1:]]
    seen["another server"] = EmbeddedValkey(folder / "queue").pid() != first
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(watch(Path(sys.argv[1])))))
