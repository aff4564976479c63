"""Settings of the queue and of its workers, each an environment variable ``FALX_<NAME>``; units are in the names."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DAY_S = 86_400.0


class QueueSettings(BaseSettings):
    """What everybody who submits or runs jobs must agree on."""

    model_config = SettingsConfigDict(env_prefix="FALX_", env_ignore_empty=True, frozen=True, extra="ignore")

    redis_url: str | None = Field(
        default=None,
        description="Redis 7 or Valkey: redis://, rediss://, unix://, redis+sentinel://HOST,HOST/SERVICE or "
        "redis+cluster://. Keep it private: whoever can write to it can run code in the workers. `make run` sets it to "
        "a server of its own where it is unset.",
    )
    jobs_name: str = Field(
        default="falx",
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="Name of the queue, with which all its keys begin. Two installations may share one Redis.",
    )
    redis_timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="Longest wait for one answer of Redis before a request gets 503."
    )
    max_queued_jobs: int = Field(
        default=100, ge=1, description="Jobs that may wait at once; above it a request gets 429 with Retry-After."
    )
    expected_run_s: float = Field(
        default=30.0, gt=0, description="Time of one job, for Retry-After, until the first has been measured."
    )
    job_retention_s: float = Field(
        default=7 * DAY_S, gt=0, description="Time after its end at which a job's inputs and results are erased."
    )
    job_tombstone_s: float = Field(
        default=30 * DAY_S, gt=0, description="Time for which an erased job is answered with 410, then with 404."
    )
    idempotency_ttl_s: float = Field(
        default=DAY_S, gt=0, description="Time for which an Idempotency-Key is remembered."
    )


class WorkerSettings(QueueSettings):
    """What a worker reads on top."""

    job_lease_s: float = Field(
        default=30.0,
        gt=0,
        description="Time after which the job of a worker that has died is given to another one. Leases are renewed "
        "four times as often.",
    )
    job_max_attempts: int = Field(
        default=3, ge=1, description="Attempts after which a job whose process dies every time has failed."
    )
    job_timeout_s: float = Field(default=1800.0, gt=0, description="Time after which a running job is stopped.")
    job_retry_delay_s: float = Field(
        default=2.0, ge=0, description="Wait before a second attempt; doubled with each further one."
    )
    job_drain_s: float = Field(
        default=600.0,
        ge=0,
        description="Time that a running job gets to end after SIGTERM; after it the job goes back into the queue. "
        "Keep the orchestrator's stop period above it.",
    )
