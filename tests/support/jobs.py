"""A real Valkey and real worker processes for the tests of the queue."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from core.contracts.jobs import JobRecord, JobRequest, Priority
from core.jobs.queue import JobQueue
from core.jobs.settings import QueueSettings

ROOT = Path(__file__).resolve().parents[2]
# Short enough for a test, long enough for a busy machine.
LEASE_S = 3.0


class Workers:
    """Worker processes on one queue; all are gone when the ``with`` block ends."""

    def __init__(self, url: str, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "FALX_REDIS_URL": url,
            "JOBS_TEST_FOLDER": str(folder),
            "FALX_JOB_LEASE_S": str(LEASE_S),
            "FALX_JOB_RETRY_DELAY_S": "0.1",
            **{f"FALX_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """One more worker."""
        log = (self.folder / f"worker-{len(self.processes)}.err").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.jobs_worker"],
                cwd=ROOT,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    @property
    def log(self) -> str:
        """What all of them have logged."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("worker-*.err")))

    def trace(self, job_id: str) -> list[str]:
        """What the attempts at a job have left."""
        path = self.folder / f"{job_id}.log"
        return path.read_text().splitlines() if path.exists() else []


def pids(lines: list[str], word: str = "pid") -> list[int]:
    """The process ids in a trace."""
    return [int(found) for line in lines for found in re.findall(rf"{word} (\d+)", line)]


def lives(pid: int) -> bool:
    """Whether a process is there and is more than a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(condition: Callable[[], Awaitable[Any]], what: str, limit_s: float = 100.0) -> Any:
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + limit_s
    while not (answer := await condition()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s"
        await asyncio.sleep(0.05)
    return answer


async def reached(queue: JobQueue, job_id: str, *statuses: str) -> JobRecord:
    """The job once it has one of ``statuses``."""

    async def look() -> JobRecord | None:
        record = await queue.get(job_id)
        return record if record.status in statuses else None

    found = await until(look, f"a job that is {' or '.join(statuses)}")
    assert isinstance(found, JobRecord)
    return found


async def submit(queue: JobQueue, kind: str = "echo", priority: Priority = "routine") -> str:
    """A new job without inputs."""
    submission = await queue.submit(JobRequest(type=kind, priority=priority), ())
    return submission.record.id


def settings(**changes: Any) -> QueueSettings:
    """Settings of a queue, none of them from the environment."""
    return QueueSettings(**{"redis_timeout_s": 3.0, **changes})
