"""The child process of a job: what it says, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.contracts.jobs import JobRecord, JobRequest, Progress
from core.errors import StartupError
from core.jobs.child import ChildRequest
from core.jobs.handler import load_handler
from core.jobs.process import ChildProcess, Died, Done, Failed, Message
from core.jobs.queue import new_job_id
from core.jobs.store import now

HANDLER = "tests.support.jobs_handlers:work"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS_TEST_FOLDER", str(tmp_path))


def request_of(kind: str, handler: str = HANDLER) -> ChildRequest:
    record = JobRecord(id=new_job_id(), request=JobRequest(type=kind), created_at=now(), attempts=1, status="running")
    return ChildRequest(handler=handler, record=record, service="test")


async def hear(kind: str, handler: str = HANDLER) -> list[Message]:
    child = await ChildProcess.start(request_of(kind, handler))
    try:
        return [message async for message in child.messages()]
    finally:
        await child.stop()


async def test_what_a_job_says_arrives_and_what_it_prints_does_not() -> None:
    *progress, last = await hear("slow")
    assert [message.stage for message in progress if isinstance(message, Progress)] == [
        "read",
        "prepare",
        "segment",
        "write",
    ]
    assert isinstance(last, Done)
    assert last.outcome.measurements == {"volume_ml": 1.5, "nothing": None}


async def test_a_refusal_is_a_problem() -> None:
    (message,) = await hear("refuse")
    assert isinstance(message, Failed)
    assert (message.problem.code, message.problem.status, message.retry) == ("inconsistent-geometry", 422, False)


async def test_an_unexpected_error_says_nothing_of_its_message() -> None:
    (message,) = await hear("broken")
    assert isinstance(message, Failed)
    assert (message.problem.code, message.retry) == ("internal-error", True)
    assert "Doe" not in message.problem.model_dump_json()


async def test_a_temporary_error_may_be_tried_again() -> None:
    (message,) = await hear("flaky")
    assert isinstance(message, Failed)
    assert (message.problem.code, message.retry) == ("storage-unavailable", True)


async def test_a_crash_has_a_name() -> None:
    assert await hear("segfault") == [Died("SIGSEGV")]


async def test_native_code_that_holds_the_interpreter_is_stopped() -> None:
    child = await ChildProcess.start(request_of("hold-gil"))
    async for message in child.messages():
        assert message == Progress(stage="native", fraction=0.5)
        break
    began = time.monotonic()
    await child.stop()
    assert time.monotonic() - began < 5
    assert not psutil.pid_exists(child.pid)


async def test_stopping_takes_grandchildren_along(tmp_path: Path) -> None:
    request = request_of("grandchild")
    child = await ChildProcess.start(request)
    log = tmp_path / f"{request.record.id}.log"
    grandchild = await asyncio.to_thread(pid_in, log)
    await child.stop()
    await asyncio.to_thread(wait_for_end, grandchild)


def pid_in(log: Path) -> int:
    deadline = time.monotonic() + 30
    while not (log.exists() and "grandchild" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(log.read_text().split("grandchild ")[1])


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


PARENT = """
import asyncio, sys
from core.jobs.process import ChildProcess
from core.jobs.child import ChildRequest
async def main():
    child = await ChildProcess.start(ChildRequest.model_validate_json(sys.argv[1]))
    async for message in child.messages():
        print(child.pid, flush=True)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere native code may outlive its worker")
def test_a_killed_worker_leaves_no_child_behind() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, request_of("hold-gil").model_dump_json()], stdout=-1)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    wait_for_end(child)


@pytest.mark.parametrize("path", ["", "absent:work", "core.jobs.handler", "core.jobs.handler:absent", "json:__doc__"])
def test_handlers_that_are_none(path: str) -> None:
    with pytest.raises(StartupError):
        load_handler(path)
