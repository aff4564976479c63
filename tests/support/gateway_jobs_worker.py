"""``python -m tests.support.gateway_jobs_worker``: a worker on a real store.

It does the small jobs of ``jobs_handlers``, and stores every input once more as a result.
"""

from __future__ import annotations

import asyncio

from core.blobs.retention import job_prefix, result_name
from core.blobs.settings import BlobSettings
from core.blobs.store import open_store
from core.contracts.jobs import JobOutcome, StoredFile
from core.contracts.service import ModelSummary
from core.jobs.handler import Work
from core.jobs.settings import WorkerSettings
from core.jobs.worker import JobWorker, run_worker
from core.telemetry.logs import configure_logging
from tests.support import jobs_handlers

MODEL = ModelSummary(
    name="tumor-volume",
    version="1",
    task="volume-segmentation",
    title="Echo",
    architecture="none",
    labels=("whole_tumor",),
    sequences=("t1", "t1ce", "flair"),
    provider="CPUExecutionProvider",
    variant="reference",
    sha256="0" * 64,
    ready=True,
    licence="Apache-2.0",
    intended_use="Tests.",
)


def work(work: Work) -> JobOutcome:
    """What the type says; then the inputs again, and what the job says of itself."""
    kind = "echo" if work.record.request.type == "segmentation" else work.record.request.type
    request = work.record.request.model_copy(update={"type": kind})
    outcome = jobs_handlers.work(Work(work.record.model_copy(update={"request": request}), work.report))
    store = open_store(BlobSettings())
    folder = jobs_handlers.folder()
    results = []
    for name, media_type, source in [
        ("report.json", "application/json", None),
        *((f"copy-{file.name}", file.media_type, file) for file in work.record.inputs),
    ]:
        path = folder / f"{work.record.id}-{name}"
        if source is None:
            path.write_bytes(f"{work.record.id} done".encode())
        else:
            store.download(source.blob, path, source.sha256)
        blob = store.upload(result_name(work.record.id, work.record.attempts, name), path)
        results.append(StoredFile(name=name, media_type=media_type, size=blob.size, sha256=blob.sha256, blob=blob.name))
    return outcome.model_copy(update={"results": tuple(results)})


async def main() -> None:
    """Work until SIGTERM."""
    configure_logging("test-worker")
    store = open_store(BlobSettings())

    async def erase(job_id: str) -> None:
        await store.erase(job_prefix(job_id))

    handler = "tests.support.gateway_jobs_worker:work"
    await run_worker(JobWorker(WorkerSettings(), handler, service="test-worker", erase=erase, models=(MODEL,)))


if __name__ == "__main__":
    asyncio.run(main())
