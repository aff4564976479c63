"""What a worker measures of its jobs and of the queue, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Gauge

from core.contracts.jobs import JobRecord, JobStatus, Priority
from core.telemetry.metrics import Metrics

# A stage may take a moment, a job half an hour, and it may wait for a day.
_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86_400.0)


class WorkerMetrics(Metrics):
    """The observer of a ``JobWorker``; ``queue`` is told what a look at the queue found."""

    def __init__(self) -> None:
        super().__init__()
        self._wait = self.histogram(
            "falx_job_wait_seconds", "From taking a job in to its first attempt.", "priority", buckets=_SECONDS
        )
        self._stage = self.histogram("falx_job_stage_seconds", "One stage of an attempt.", "stage", buckets=_SECONDS)
        self._run = self.histogram(
            "falx_job_run_seconds",
            "One attempt, by what the job is after it: queued is tried again.",
            "status",
            buckets=_SECONDS,
        )
        self._attempts = Counter("falx_job_attempts", "Attempts begun.", ["priority"], registry=self.registry)
        self._deaths = Counter(
            "falx_job_process_deaths",
            "Processes of attempts that died, by signal or code.",
            ["how"],
            registry=self.registry,
        )
        self._given_up = Counter("falx_jobs_given_up", "Jobs that became dead letters here.", registry=self.registry)
        self._busy = Gauge("falx_worker_busy", "1 while a job runs here.", registry=self.registry)
        self._waiting = Gauge("falx_jobs_waiting", "Jobs that wait in the queue.", ["priority"], registry=self.registry)
        self._jobs = Gauge("falx_jobs", "Jobs that are kept, by status.", ["status"], registry=self.registry)
        self._dead = Gauge("falx_dead_letters", "Jobs in the list of those given up.", registry=self.registry)

    def started(self, record: JobRecord, wait_s: float) -> None:
        """See ``Observer``."""
        self._busy.set(1)
        self._attempts.labels(record.request.priority).inc()
        if record.attempts == 1:
            self._wait.labels(record.request.priority).observe(wait_s)

    def stage(self, name: str, seconds: float) -> None:
        """See ``Observer``."""
        self._stage.labels(name).observe(seconds)

    def ended(self, record: JobRecord, status: JobStatus, run_s: float) -> None:
        """See ``Observer``."""
        del record
        self._busy.set(0)
        self._run.labels(status).observe(run_s)

    def died(self, record: JobRecord, how: str) -> None:
        """See ``Observer``."""
        del record
        self._deaths.labels(how).inc()

    def given_up(self, record: JobRecord) -> None:
        """See ``Observer``."""
        del record
        self._given_up.inc()

    def queue(self, waiting: Mapping[Priority, int], jobs: Mapping[JobStatus, int], dead_letters: int) -> None:
        """What stands in the queue at present, for all workers together."""
        for priority, count in waiting.items():
            self._waiting.labels(priority).set(count)
        for status, count in jobs.items():
            self._jobs.labels(status).set(count)
        self._dead.set(dead_letters)
