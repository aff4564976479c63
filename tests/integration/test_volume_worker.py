"""The worker of volumes as a real process: queue, store, network, signals and kills."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from core.blobs.retention import input_name
from core.blobs.settings import BlobSettings
from core.blobs.store import open_store
from core.contracts.jobs import JobRecord, JobRequest, StoredFile
from core.jobs.embedded import EmbeddedValkey
from core.jobs.queue import JobQueue, new_job_id, open_queue
from core.jobs.settings import QueueSettings
from tests.fixtures.volume_models import make_phantom, write_volume_bundle
from tests.fixtures.volumes import make_affine, nibabel, to_nifti
from tests.support.jobs import LEASE_S, lives, until

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (31, 27, 25)
# Long enough to be in the middle of, on any machine: nobody waits for its end.
ENDLESS_LAYERS = 1000
# A worker and each attempt start a process that imports numerical libraries: on a busy machine that takes long.
LIMIT_S = 400.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Site:
    """One queue, one store, one models folder, and the workers on them."""

    queue: JobQueue
    folder: Path
    environment: dict[str, str]
    ports: list[int] = field(default_factory=list)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = open_store(BlobSettings(blobs_url=str(self.folder / "blobs"), blobs_min_free_bytes=0))

    def start(self, pass_fds: tuple[int, ...] = (), **settings: str) -> subprocess.Popen[bytes]:
        """One more worker."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.ports.append(listener.getsockname()[1])
        environment = {**self.environment, "FALX_PORT": str(self.ports[-1]), **settings}
        with (self.folder / f"worker-{len(self.workers)}.log").open("wb") as log:
            command = [sys.executable, "-m", "segmenter_service", "worker"]
            worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, pass_fds=pass_fds)
        self.workers.append(worker)
        return worker

    def log(self) -> str:
        """What all workers have logged."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("worker-*.log")))

    async def get(self, path: str, worker: int = -1) -> tuple[int, str]:
        """Status and body of one GET; (0, "") where nobody answers."""

        def ask() -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[worker], timeout=10)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            except OSError:
                return 0, ""
            finally:
                connection.close()

        return await asyncio.to_thread(ask)

    async def ready(self, worker: int = -1) -> None:
        """Return once a worker is ready."""

        async def look() -> bool:
            assert self.workers[worker].poll() is None, self.log()
            return (await self.get("/readyz", worker))[0] == 200

        await until(look, "a worker that is ready", LIMIT_S)

    async def submit(self, data: bytes, name: str = "flair.nii.gz") -> str:
        """A new job with one input."""
        job_id = new_job_id()

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        blob = await self.store.put(input_name(job_id, name), chunks())
        file = StoredFile(name=name, media_type="application/gzip", size=blob.size, sha256=blob.sha256, blob=blob.name)
        await self.queue.submit(JobRequest(), [file], job_id=job_id)
        return job_id

    async def result(self, record: JobRecord, name: str = "segmentation.nii.gz") -> bytes:
        """A result of a job, verified."""
        file = record.result(name)
        assert file is not None
        return b"".join([chunk async for chunk in self.store.read(file.blob, file.sha256)])

    async def in_stage(self, job_id: str, stage: str) -> JobRecord:
        """The job once it is in a stage of its run."""

        async def look() -> JobRecord | None:
            record = await self.queue.get(job_id)
            assert not record.terminal, record
            return record if record.status == "running" and record.progress.stage == stage else None

        found = await until(look, f"a job that is in stage {stage}", LIMIT_S)
        assert isinstance(found, JobRecord)
        return found


async def ended(site: Site, job_id: str) -> JobRecord:
    """The job once it has succeeded or failed."""

    async def look() -> JobRecord | None:
        record = await site.queue.get(job_id)
        return record if record.status in {"succeeded", "failed"} else None

    found = await until(look, "a job that has ended", LIMIT_S)
    assert isinstance(found, JobRecord)
    return found


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def quick_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volume_bundle(tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def endless_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volume_bundle(tmp_path_factory.mktemp("endless"), slow_layers=ENDLESS_LAYERS)


@asynccontextmanager
async def site_on(redis_url: str, folder: Path, models: Path) -> AsyncIterator[Site]:
    settings = QueueSettings(jobs_name=f"volumes-{new_job_id()[:8]}", redis_timeout_s=10.0)
    environment = {
        **os.environ,
        "FALX_REDIS_URL": redis_url,
        "FALX_JOBS_NAME": settings.jobs_name,
        "FALX_BLOBS_URL": str(folder / "blobs"),
        "FALX_BLOBS_MIN_FREE_BYTES": "0",
        "FALX_MODELS_DIR": str(models),
        "FALX_JOB_LEASE_S": str(LEASE_S),
        "FALX_JOB_RETRY_DELAY_S": "0.1",
    }
    async with open_queue(redis_url, settings) as queue:
        site = Site(queue, folder, environment)
        try:
            yield site
        finally:
            for worker in site.workers:
                worker.kill()
                worker.wait()


def child_of(worker: subprocess.Popen[bytes]) -> int:
    """The process of the job that a worker runs."""
    (child,) = [one for one in psutil.Process(worker.pid).children() if "core.jobs.child" in one.cmdline()]
    return int(child.pid)


def phantom_file() -> tuple[bytes, np.ndarray]:
    volume, labels = make_phantom(SHAPE, make_affine("LPS", (1.0, 1.0, 1.5), SHAPE, 15))
    return to_nifti(volume.voxels, volume.affine, compress=True), labels


async def test_good_and_bad_jobs_pass_through_one_worker(redis_url: str, tmp_path: Path, quick_models: Path) -> None:
    """What is poison to one job leaves the next one, the worker and its counters alone; SIGTERM ends it with 0."""
    data, labels = phantom_file()
    async with site_on(redis_url, tmp_path, quick_models) as site:
        jobs = [await site.submit(content) for content in (data[: len(data) // 2], b"no volume" * 100, data)]
        worker = site.start()
        truncated, foreign, good = [await ended(site, job) for job in jobs]
        assert (truncated.status, foreign.status, good.status) == ("failed", "failed", "succeeded"), site.log()
        for record in (truncated, foreign):
            assert record.problem is not None
            assert (record.problem.code, record.problem.status) == ("invalid-nifti", 400)
            assert record.problem.errors[0].pointer == "part/flair"
            assert record.attempts == 1
        image: Any = nibabel.Nifti1Image.from_bytes(gzip.decompress(await site.result(good)))
        assert np.array_equal(np.asarray(image.dataobj), labels)
        assert json.loads(await site.result(good, "report.json"))["regions"] == good.measurements["regions"]

        status, body = await site.get("/readyz")
        states = {state["name"]: state for state in json.loads(body)["dependencies"]}
        assert status == 200
        assert states["tumor-volume"]["provider"] == "CPUExecutionProvider"
        assert states["queue"]["ready"]
        assert states["storage"]["ready"]
        assert (await site.get("/livez"))[0] == 200

        async def counted() -> bool:
            _, metrics = await site.get("/metrics")
            wanted = (
                'falx_job_attempts_total{priority="routine"} 3.0',
                'falx_job_run_seconds_count{status="succeeded"} 1.0',
                'falx_job_run_seconds_count{status="failed"} 2.0',
                'falx_job_wait_seconds_count{priority="routine"} 3.0',
                'falx_job_stage_seconds_count{stage="segment"} 1.0',
                'falx_jobs_waiting{priority="routine"} 0.0',
                'falx_jobs{status="succeeded"} 1.0',
                "falx_dead_letters 0.0",
            )
            return all(line in metrics for line in wanted)

        await until(counted, "metrics of three jobs", 20)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, LIMIT_S) == 0


async def test_a_cancel_stops_the_network_in_the_middle_of_a_run(
    redis_url: str, tmp_path: Path, endless_models: Path
) -> None:
    async with site_on(redis_url, tmp_path, endless_models) as site:
        worker = site.start()
        job = await site.submit(phantom_file()[0])
        await site.in_stage(job, "segment")
        child = child_of(worker)
        before = time.monotonic()
        assert (await site.queue.cancel(job)).status == "cancelled"

        async def gone() -> bool:
            return not lives(child)

        await until(gone, "the end of the job's process", 30)
        took_s = time.monotonic() - before
        assert (await site.queue.get(job)).status == "cancelled"
        assert worker.poll() is None
    # The job's own run would have taken hours.
    assert took_s < 10


async def test_a_job_whose_worker_is_killed_is_done_by_another(
    redis_url: str, tmp_path: Path, endless_models: Path, quick_models: Path
) -> None:
    data, labels = phantom_file()
    async with site_on(redis_url, tmp_path, endless_models) as site:
        first = site.start()
        job = await site.submit(data)
        await site.in_stage(job, "segment")
        child = child_of(first)
        first.kill()
        await asyncio.to_thread(first.wait)
        site.start(FALX_MODELS_DIR=str(quick_models))
        record = await ended(site, job)
        assert record.status == "succeeded", site.log()
        assert record.attempts == 2
        assert not lives(child)
        image: Any = nibabel.Nifti1Image.from_bytes(gzip.decompress(await site.result(record)))
        assert np.array_equal(np.asarray(image.dataobj), labels)


async def test_a_job_whose_process_is_killed_each_time_is_given_up_and_the_worker_goes_on(
    redis_url: str, tmp_path: Path, endless_models: Path
) -> None:
    async with site_on(redis_url, tmp_path, endless_models) as site:
        worker = site.start(FALX_JOB_MAX_ATTEMPTS="1")
        job = await site.submit(phantom_file()[0])
        await site.in_stage(job, "segment")
        os.kill(child_of(worker), signal.SIGSEGV)
        record = await ended(site, job)
        assert record.problem is not None
        assert record.problem.code == "job-crashed"
        assert worker.poll() is None
        _, metrics = await site.get("/metrics")
        assert 'falx_job_process_deaths_total{how="SIGSEGV"} 1.0' in metrics
        assert "falx_jobs_given_up_total 1.0" in metrics


async def test_without_a_model_no_job_is_taken_until_there_is_one(
    redis_url: str, tmp_path: Path, quick_models: Path
) -> None:
    models = tmp_path / "models"
    async with site_on(redis_url, tmp_path, models) as site:
        worker = site.start()
        job = await site.submit(phantom_file()[0])

        async def said() -> bool:
            status, body = await site.get("/readyz")
            return status == 503 and "no bundle of task volume-segmentation" in body

        await until(said, "a worker that says what it lacks", LIMIT_S)
        assert (await site.queue.get(job)).status == "queued"
        shutil.copytree(quick_models, models)
        assert (await ended(site, job)).status == "succeeded", site.log()
        assert (await site.get("/readyz"))[0] == 200
        assert worker.poll() is None


async def test_a_broken_bundle_ends_the_start_with_a_line(redis_url: str, tmp_path: Path, quick_models: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(quick_models, models)
    with (models / "tumor-volume" / "1" / "model.onnx").open("ab") as model:
        model.write(b"\0")
    async with site_on(redis_url, tmp_path, models) as site:
        worker = site.start()
        assert await asyncio.to_thread(worker.wait, LIMIT_S) == 1
        assert "falx: " in site.log()
        assert "Traceback" not in site.log()


async def test_a_worker_told_to_stop_hands_its_job_back_in_time(
    redis_url: str, tmp_path: Path, endless_models: Path
) -> None:
    async with site_on(redis_url, tmp_path, endless_models) as site:
        worker = site.start(FALX_JOB_DRAIN_S="1")
        job = await site.submit(phantom_file()[0])
        await site.in_stage(job, "segment")
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, LIMIT_S) == 0
        record = await site.queue.get(job)
        assert (record.status, record.attempts) == ("queued", 0)


async def test_a_worker_ends_with_its_supervisor(redis_url: str, tmp_path: Path, endless_models: Path) -> None:
    read_end, write_end = os.pipe()
    async with site_on(redis_url, tmp_path, endless_models) as site:
        worker = site.start((read_end,), FALX_PARENT_FD=str(read_end))
        os.close(read_end)
        job = await site.submit(phantom_file()[0])
        await site.in_stage(job, "segment")
        child = child_of(worker)
        os.close(write_end)
        await asyncio.to_thread(worker.wait, LIMIT_S)
        assert not lives(child)
        assert (await site.queue.get(job)).status == "queued"
