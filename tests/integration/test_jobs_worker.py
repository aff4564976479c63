"""A worker in this process: what it tells its observer, and whom it lets go first."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.contracts.jobs import JobRecord, JobStatus
from core.errors import StartupError
from core.jobs.connection import open_client, open_dockets
from core.jobs.embedded import EmbeddedValkey
from core.jobs.keys import Keys
from core.jobs.queue import open_queue
from core.jobs.settings import WorkerSettings
from core.jobs.store import JobStore
from core.jobs.worker import JobWorker
from tests.support.jobs import LEASE_S, reached, submit
from tests.support.queue import docket_message

HANDLER = "tests.support.jobs_handlers:work"


class Notes:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, record: JobRecord, wait_s: float) -> None:
        self.lines.append(f"started {record.attempts} {wait_s >= 0}")

    def stage(self, name: str, seconds: float) -> None:
        self.lines.append(f"stage {name} {seconds >= 0}")

    def ended(self, record: JobRecord, status: JobStatus, run_s: float) -> None:
        self.lines.append(f"ended {status} {run_s > 0}")

    def died(self, record: JobRecord, how: str) -> None:
        self.lines.append(f"died {how}")

    def given_up(self, record: JobRecord) -> None:
        self.lines.append(f"given up {record.attempts}")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerSettings]:
    """Settings with a server of this test's own."""
    monkeypatch.setenv("JOBS_TEST_FOLDER", str(tmp_path))
    server = EmbeddedValkey(tmp_path / "valkey")
    yield WorkerSettings(
        redis_url=server.start(), job_lease_s=LEASE_S, job_retry_delay_s=0.1, job_max_attempts=2, redis_timeout_s=5
    )
    server.stop()


@asynccontextmanager
async def working(settings: WorkerSettings, notes: Notes) -> AsyncIterator[JobWorker]:
    worker = JobWorker(settings, HANDLER, observer=notes)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def test_an_observer_hears_of_every_turn(settings: WorkerSettings) -> None:
    assert settings.redis_url is not None
    notes = Notes()
    async with open_queue(settings.redis_url, settings) as queue, working(settings, notes):
        await reached(queue, await submit(queue, "slow"), "succeeded")
        await reached(queue, await submit(queue, "segfault"), "failed")
    slow, poison = notes.lines[:8], notes.lines[8:]
    stages = [f"stage {name} True" for name in ("start", "read", "prepare", "segment", "write")]
    assert slow == ["started 1 True", *stages, "ended succeeded True", slow[-1]]
    assert [slow[-1], *poison] == [
        "started 1 True",
        "stage start True",
        "ended queued True",
        "died SIGSEGV",
        "started 2 True",
        "stage start True",
        "ended failed True",
        "died SIGSEGV",
        "given up 2",
    ]


async def test_a_job_that_another_attempt_holds_waits_for_it(settings: WorkerSettings) -> None:
    """As when Redis was away for longer than a lease and the first worker is still at it."""
    assert settings.redis_url is not None
    keys = Keys(settings.jobs_name)
    async with (
        open_queue(settings.redis_url, settings) as queue,
        open_dockets(settings.redis_url, keys) as dockets,
        open_client(dockets) as client,
    ):
        store = JobStore(client, keys, settings.redis_timeout_s)
        job_id = await submit(queue)
        assert await store.hold(job_id, "another attempt", 60)
        async with working(settings, Notes()):
            await asyncio.sleep(2)
            record = await queue.get(job_id)
            assert (record.status, record.attempts) == ("queued", 0)
            await store.release(job_id, "another attempt")
            assert (await reached(queue, job_id, "succeeded")).attempts == 1


async def test_nothing_of_an_ended_job_stays_in_the_docket(settings: WorkerSettings) -> None:
    assert settings.redis_url is not None
    async with open_queue(settings.redis_url, settings) as queue:
        cancelled = await submit(queue)
        await queue.cancel(cancelled)
        async with working(settings, Notes()):
            done = await submit(queue)
            await reached(queue, done, "succeeded")
        keys = Keys(settings.jobs_name)
        async with open_dockets(settings.redis_url, keys) as dockets, open_client(dockets) as client:
            names = [key.decode() async for key in client.scan_iter(f"{keys.docket('routine')}:*")]
            theirs = [name for name in names if cancelled in name or done in name]
            assert [name for name in theirs if await client.ttl(name) == -1] == []
            assert await client.xlen(f"{keys.docket('routine')}:stream") == 0


def test_a_worker_needs_an_address_and_a_handler(settings: WorkerSettings) -> None:
    with pytest.raises(StartupError, match="FALX_REDIS_URL"):
        JobWorker(settings.model_copy(update={"redis_url": None}), HANDLER)
    with pytest.raises(StartupError, match="handler"):
        JobWorker(settings, "absent:work")


class Touching:
    """Once unpickled, it has left a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


async def test_a_message_of_another_hand_is_not_run_and_holds_nothing_up(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    assert settings.redis_url is not None
    keys, trace = Keys(settings.jobs_name), tmp_path / "trace"
    async with open_queue(settings.redis_url, settings) as queue:
        job_id = await submit(queue, "slow")
        async with open_dockets(settings.redis_url, keys) as dockets, open_client(dockets) as client:
            message = await docket_message(JobStore(client, keys, 5.0), "routine")
            for args in (pickle.dumps([Touching(trace)]), b"{", b"[1, 2]", b"{}", b'["no job"]'):
                await client.xadd(
                    f"{keys.docket('routine')}:stream", {**message, b"key": b"foreign", b"args": args, b"kwargs": args}
                )
        async with working(settings, Notes()):
            await reached(queue, job_id, "succeeded")
            await reached(queue, await submit(queue, "slow"), "succeeded")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Touching(trace)))
    assert trace.exists()
