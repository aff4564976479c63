"""The worker's side of a child process: start it, hear it, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from core.contracts.jobs import JobOutcome, Progress
from core.contracts.problem import Problem
from core.jobs.child import ChildRequest

# One message: an outcome with long measurements has some hundred kilobytes.
_LINE_LIMIT: Final = 16 * 1024 * 1024
_EXIT_LIMIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Done:
    """The handler returned."""

    outcome: JobOutcome


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised; ``retry``: another attempt may go better."""

    problem: Problem
    retry: bool


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended without a word; ``how`` is its signal or exit code."""

    how: str


Message = Progress | Done | Failed | Died


class ChildProcess:
    """One job in a process and a session of its own: a signal to the worker does not reach it, killing it takes all."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, request: ChildRequest) -> ChildProcess:
        """Start it and hand it its job."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "core.jobs.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101  asked for above
        process.stdin.write(request.model_dump_json().encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group too."""
        return self._process.pid

    async def messages(self) -> AsyncIterator[Message]:
        """Everything that it says; the last one is ``Done``, ``Failed`` or ``Died``."""
        assert self._process.stdout is not None  # noqa: S101
        while True:
            try:
                line = await self._process.stdout.readline()
                message = _parse(line) if line else None
            except (ValueError, KeyError, ValidationError):
                message = Died("sent something that is no message")
            if message is None:
                yield Died(_ending(await self._process.wait()))
                return
            yield message
            if not isinstance(message, Progress):
                return

    async def stop(self) -> None:
        """Kill it and its children, if they live, and reap it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def end(self) -> None:
        """Let it end by itself, for a moment, and then make it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_LIMIT_S):
                await self._process.wait()
        await self.stop()


def _parse(line: bytes) -> Message:
    fields: dict[str, Any] = json.loads(line)
    kind = fields.pop("kind")
    if kind == "progress":
        return Progress.model_validate(fields)
    if kind == "done":
        return Done(JobOutcome.model_validate(fields["outcome"]))
    return Failed(Problem.model_validate(fields["problem"]), bool(fields["retry"]))


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
