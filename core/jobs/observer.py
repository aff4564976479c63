"""The seam for metrics: what a worker tells of its jobs."""

from __future__ import annotations

from typing import Protocol

from core.contracts.jobs import JobRecord, JobStatus


class Observer(Protocol):
    """Is told what a worker does; for metrics."""

    def started(self, record: JobRecord, wait_s: float) -> None:
        """An attempt begins, ``wait_s`` seconds after the job was taken in."""

    def stage(self, name: str, seconds: float) -> None:
        """A stage of the pipeline took ``seconds``."""

    def ended(self, record: JobRecord, status: JobStatus, run_s: float) -> None:
        """An attempt ended; ``status`` is queued where the job is tried again."""

    def died(self, record: JobRecord, how: str) -> None:
        """The process of an attempt died."""

    def given_up(self, record: JobRecord) -> None:
        """A job became a dead letter."""


class Silent:
    """An observer that does nothing."""

    def started(self, record: JobRecord, wait_s: float) -> None:
        """See ``Observer``."""

    def stage(self, name: str, seconds: float) -> None:
        """See ``Observer``."""

    def ended(self, record: JobRecord, status: JobStatus, run_s: float) -> None:
        """See ``Observer``."""

    def died(self, record: JobRecord, how: str) -> None:
        """See ``Observer``."""

    def given_up(self, record: JobRecord) -> None:
        """See ``Observer``."""
