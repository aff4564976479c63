"""The seam between the queue and what a job does."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from core.contracts.jobs import JobOutcome, JobRecord
from core.errors import StartupError

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt at a job.

    ``record.attempts`` is its number, from 1: the results of different attempts must not share names in the store.
    ``report(stage, fraction)`` says how far the whole job has come, in [0, 1]; it costs next to nothing.
    """

    record: JobRecord
    report: Report


class Handler(Protocol):
    """Does one job in a process of its own, in its main thread; the process ends when it returns.

    A ``FalxError`` that it raises becomes the problem of the failed job, unless it is retryable: then the job is tried
    again, as it is after any other exception and after the death of the process.
    """

    def __call__(self, work: Work) -> JobOutcome:
        """Do the job: read its inputs, write its results, return what is to be said of them."""
        ...


def load_handler(path: str) -> Handler:
    """The handler at ``package.module:name``. Raises ``StartupError`` where there is none."""
    module, _, name = path.partition(":")
    try:
        handler = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise StartupError(f"There is no job handler at {path}.") from error
    if not callable(handler):
        raise StartupError(f"The job handler at {path} cannot be called.")
    return cast("Handler", handler)
