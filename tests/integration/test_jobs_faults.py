"""Jobs with real workers on a real Valkey while things are killed: every accepted job ends, once, and in time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import JobNotCancellable, ResultExpired
from core.jobs.embedded import EmbeddedValkey
from core.jobs.queue import open_queue
from tests.support.jobs import LEASE_S, Workers, lives, pids, reached, settings, submit, until

# A worker looks twice a second; the rest is for a busy machine.
STOP_LIMIT_S = 5.0


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server of this test's own, not yet started."""
    server = EmbeddedValkey(tmp_path / "valkey")
    yield server
    server.stop()


async def job_process(workers: Workers, job_id: str, attempt: int = 1) -> int:
    """Process id of an attempt, once it works."""

    async def look() -> int | None:
        found = pids(workers.trace(job_id))
        return found[attempt - 1] if len(found) >= attempt else None

    pid = await until(look, "a working process")
    assert isinstance(pid, int)
    return pid


async def gone(pid: int) -> None:
    async def look() -> bool:
        return not lives(pid)

    await until(look, "the end of a process", STOP_LIMIT_S)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def finished(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, 60)


async def test_a_job_goes_the_whole_way(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        workers.start()
        async with open_queue(url, settings()) as queue:
            job_id = await submit(queue, "slow")
            events = [event async for event in queue.events(job_id) if event is not None]
            record = await queue.get(job_id)
            assert (record.status, record.attempts) == ("succeeded", 1)
            assert record.result("report.json") is not None
            assert record.measurements == {"volume_ml": 1.5, "nothing": None}
            assert record.warnings == ("a warning",)
            assert record.started_at is not None
            assert record.finished_at is not None
            states = [event.data for event in events if event.event == "state"]
            assert [state.split('"')[3] for state in states] == ["queued", "running", "succeeded"]
            stages = [event.data.split('"')[5] for event in events if event.event == "progress"]
            assert [stage for stage in stages if stage != "start"] == ["read", "prepare", "segment", "write"]
            with pytest.raises(JobNotCancellable):
                await queue.cancel(job_id)


async def test_urgent_jobs_go_first(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        async with open_queue(url, settings()) as queue:
            routine = [await submit(queue) for _ in range(2)]
            urgent = await submit(queue, priority="urgent")
            workers.start()
            jobs = [await reached(queue, job, "succeeded") for job in (urgent, *routine)]
            starts = [job.started_at for job in jobs if job.started_at is not None]
            assert starts == sorted(starts)
            assert len(starts) == 3


async def test_the_job_of_a_killed_worker_is_done_by_another(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        workers.start()
        async with open_queue(url, settings()) as queue:
            job_id = await submit(queue, "slow")
            child = await job_process(workers, job_id)
            worker = psutil.Process(child).ppid()
            workers.start()
            kill(worker)
            killed_at = time.monotonic()
            await gone(child)
            record = await reached(queue, job_id, "succeeded", "failed")
            assert (record.status, record.attempts) == ("succeeded", 2)
            assert time.monotonic() - killed_at > LEASE_S / 2
            assert workers.trace(job_id).count("done") == 1
            assert await queue.dead_letters() == 0


async def test_a_poison_job_ends_and_its_worker_lives_on(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        worker = workers.start()
        async with open_queue(url, settings()) as queue:
            poison = await submit(queue, "segfault")
            record = await reached(queue, poison, "failed")
            assert record.attempts == 3
            assert record.problem is not None
            assert (record.problem.code, record.problem.status) == ("job-crashed", 422)
            assert await queue.dead_letters() == 1
            await reached(queue, await submit(queue), "succeeded")
            assert worker.poll() is None
            assert workers.log.count("SIGSEGV") == 3


async def test_what_fails_once_is_tried_again_and_what_is_refused_is_not(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        workers.start()
        async with open_queue(url, settings()) as queue:
            dies, flaky, refused = [await submit(queue, kind) for kind in ("first-dies", "flaky", "refuse")]
            assert (await reached(queue, dies, "succeeded", "failed")).attempts == 2
            assert (await reached(queue, flaky, "succeeded")).attempts == 2
            record = await reached(queue, refused, "failed")
            assert record.attempts == 1
            assert record.problem is not None
            assert record.problem.code == "inconsistent-geometry"
            assert await queue.dead_letters() == 0
            assert "Doe" not in workers.log


async def test_a_running_job_is_cancelled_at_once(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Even while native code holds the interpreter."""
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        workers.start()
        async with open_queue(url, settings()) as queue:
            job_id = await submit(queue, "hold-gil")
            child = await job_process(workers, job_id)
            assert (await queue.cancel(job_id)).status == "cancelled"
            await gone(child)
            await reached(queue, await submit(queue), "succeeded")
            assert (await queue.get(job_id)).status == "cancelled"
            assert "done" not in workers.trace(job_id)


async def test_a_running_job_is_deleted_with_what_it_wrote(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        workers.start()
        async with open_queue(url, settings()) as queue:
            job_id = await submit(queue, "hold-gil")
            child = await job_process(workers, job_id)
            files = tmp_path / "files" / job_id
            files.mkdir(parents=True)
            await queue.delete(job_id)
            with pytest.raises(ResultExpired):
                await queue.get(job_id)
            await gone(child)

            async def erased() -> bool:
                return not files.exists()

            await until(erased, "the erased files")


async def test_a_job_that_takes_too_long_is_stopped(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = valkey.start()
    with Workers(url, tmp_path, job_timeout_s=1.5) as workers:
        workers.start()
        async with open_queue(url, settings()) as queue:
            record = await reached(queue, await submit(queue, "grandchild"), "failed")
            assert record.problem is not None
            assert (record.problem.code, record.attempts) == ("job-timed-out", 1)
            for pid in pids(workers.trace(record.id), "grandchild"):
                await gone(pid)


async def test_nothing_accepted_is_lost_when_the_server_is_killed(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """The running job goes on meanwhile; it is not done again."""
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        workers.start()
        async with open_queue(url, settings()) as queue:
            running = await submit(queue, "slow")
            await job_process(workers, running)
            waiting = [await submit(queue) for _ in range(3)]
            pid = valkey.pid()
            assert pid is not None
            kill(pid)
            await gone(pid)
            await asyncio.sleep(0.5)
            assert valkey.start() == url
            for job_id in (running, *waiting):
                record = await reached(queue, job_id, "succeeded", "failed")
                assert (record.status, record.attempts) == ("succeeded", 1)
                assert workers.trace(job_id).count("done") == 1
            assert (await queue.counts())["succeeded"] == 4


async def test_sigterm_lets_the_running_job_end(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        worker = workers.start()
        async with open_queue(url, settings()) as queue:
            running = await submit(queue, "slow")
            await job_process(workers, running)
            waiting = await submit(queue)
            worker.terminate()
            assert await finished(worker) == 0
            record = await queue.get(running)
            assert (record.status, record.attempts) == ("succeeded", 1)
            assert (await queue.get(waiting)).status == "queued"
            workers.start()
            await reached(queue, waiting, "succeeded")
            assert workers.trace(running).count("done") == 1


async def test_a_job_that_outlasts_the_drain_is_handed_back_at_once(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Well before its lease ends, and without an attempt being held against it."""
    url = valkey.start()
    with Workers(url, tmp_path, job_drain_s=0.1, job_lease_s=60) as workers:
        worker = workers.start()
        async with open_queue(url, settings()) as queue:
            job_id = await submit(queue, "hold-gil")
            child = await job_process(workers, job_id)
            worker.terminate()
            assert await finished(worker) == 0
            assert not lives(child)
            record = await queue.get(job_id)
            assert (record.status, record.attempts) == ("queued", 0)
            workers.start()
            await job_process(workers, job_id, attempt=2)
            assert (await queue.get(job_id)).attempts == 1


async def test_workers_share_the_jobs(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = valkey.start()
    with Workers(url, tmp_path) as workers:
        for _ in range(2):
            workers.start()
        async with open_queue(url, settings()) as queue:
            await reached(queue, await submit(queue), "succeeded")
            jobs = [await submit(queue, "slow") for _ in range(2)]
            children = [await job_process(workers, job_id) for job_id in jobs]
            assert all(lives(child) for child in children)
            for job_id in jobs:
                await reached(queue, job_id, "succeeded")
                assert workers.trace(job_id).count("done") == 1
