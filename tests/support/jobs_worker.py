"""``python -m tests.support.jobs_worker``: a worker process for tests; settings come from ``FALX_*``."""

from __future__ import annotations

import asyncio
import shutil

from core.jobs.settings import WorkerSettings
from core.jobs.worker import JobWorker, run_worker
from core.telemetry.logs import configure_logging
from tests.support.jobs_handlers import folder


async def erase(job_id: str) -> None:
    """Erase the files of a job, which here are a folder."""
    shutil.rmtree(folder() / "files" / job_id, ignore_errors=True)


async def main() -> None:
    """Work until SIGTERM."""
    configure_logging("test-worker")
    worker = JobWorker(WorkerSettings(), "tests.support.jobs_handlers:work", service="test-worker", erase=erase)
    await run_worker(worker)


if __name__ == "__main__":
    asyncio.run(main())
