"""``python -m core.jobs.child``: does one job and ends.

The request is one line of JSON on stdin, which then stays open: its end means that the worker is gone, and the process
ends at once. Messages are lines of JSON on what was stdout at the start; what libraries print goes to stderr.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import IO, Any, Final

import structlog
from pydantic import BaseModel

from core.contracts.jobs import JobOutcome, JobRecord
from core.contracts.problem import Problem, ProblemError
from core.errors import FalxError
from core.jobs.handler import Work, load_handler
from core.telemetry.logs import configure_logging

logger = structlog.get_logger("falx.jobs.child")

_PR_SET_PDEATHSIG: Final = 1
_ORPHANED: Final = 70


class ChildRequest(BaseModel):
    """What a child is started for; ``handler`` is an import path."""

    handler: str
    record: JobRecord
    service: str
    log_level: str = "info"


class Messages:
    """The way back to the worker. Used from any thread of the handler."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._lock = threading.Lock()

    def send(self, kind: str, **fields: Any) -> None:
        """One message; nobody reads it any more when the worker is gone, and the process ends anyway."""
        line = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._sink.write(line)
            self._sink.flush()

    def report(self, stage: str, fraction: float) -> None:
        """How far the job has come; ``fraction`` is clipped to [0, 1]."""
        self.send("progress", stage=stage[:64], fraction=min(1.0, max(0.0, float(fraction))))


def problem_of(error: FalxError) -> Problem:
    """What a job says of the error that ended it."""
    return Problem(
        type=f"/docs/problems#{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        code=error.code,
        errors=tuple(ProblemError(pointer=fault.pointer, detail=fault.detail) for fault in error.errors),
        retryable=error.retryable,
    )


def main() -> None:
    """Do the job that stdin names."""
    messages = Messages(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    request = ChildRequest.model_validate_json(sys.stdin.buffer.readline())
    _die_with_parent()
    configure_logging(request.service, request.log_level)
    structlog.contextvars.bind_contextvars(job_id=request.record.id, request_id=request.record.request_id)
    try:
        outcome = load_handler(request.handler)(Work(request.record, messages.report))
        messages.send("done", outcome=JobOutcome.model_validate(outcome).model_dump(mode="json"))
    except FalxError as error:
        hidden = error.status == FalxError.status
        if hidden:
            logger.exception("job failed", exc_info=error)
        problem = problem_of(FalxError("The job failed unexpectedly.") if hidden else error)
        messages.send("failed", problem=problem.model_dump(mode="json"), retry=error.retryable)
    except BaseException as error:
        # Whatever it is, the worker has to know.
        logger.exception("job failed", exc_info=error)
        problem = problem_of(FalxError("The job failed unexpectedly."))
        messages.send("failed", problem=problem.model_dump(mode="json"), retry=True)
    sys.stderr.flush()
    # Threads and native libraries get no say in how the process ends: the job is done.
    os._exit(0)


def _die_with_parent() -> None:
    """End when the worker ends, however it does: at the end of stdin, and on Linux even while the GIL is held."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch_stdin, name="lifeline", daemon=True).start()


def _watch_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(_ORPHANED)


if __name__ == "__main__":
    main()
