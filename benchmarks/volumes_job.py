"""Whole jobs of volumes as a worker runs them: in a process of their own, from a store to results in the store."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.blobs.retention import input_name
from core.blobs.settings import BlobSettings
from core.blobs.store import open_store
from core.contracts.jobs import JobOutcome, JobRecord, JobRequest, StoredFile
from core.jobs.child import ChildRequest
from core.jobs.handler import Work
from segmenter_service.volumes.job import run

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class JobTimes:
    """Seconds from the start of the process to its end, seconds by stage, peak of resident memory in MiB, and what
    was found in ml by region."""

    wall_s: float
    stages_s: Mapping[str, float]
    peak_mib: float
    found_ml: Mapping[str, float]

    @property
    def process_s(self) -> float:
        """What no stage accounts for: starting Python, imports, ending."""
        return self.wall_s - sum(self.stages_s.values())


def peak_rss_mib(status: str) -> float:
    """The peak that Linux notes in ``/proc/PID/status``; rusage would count the process that started this one, too."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise ValueError("no VmHWM: this benchmark runs on Linux")
    return int(found.group(1)) / 1024


def measured(work: Work) -> JobOutcome:
    """The handler of volumes; its provenance says how much memory the process came to need."""
    outcome = run(work)
    peak = peak_rss_mib(Path("/proc/self/status").read_text())
    return outcome.model_copy(update={"provenance": {**outcome.provenance, "peak_mib": peak}})


def store_inputs(blobs: Path, files: Mapping[str, Path]) -> JobRecord:
    """A record of a job whose inputs lie in the store, as the gateway leaves them."""
    store, job_id = open_store(BlobSettings(blobs_url=str(blobs), blobs_min_free_bytes=0)), uuid.uuid4().hex
    inputs = []
    for name, path in files.items():
        blob = store.upload(input_name(job_id, name), path)
        inputs.append(
            StoredFile(name=name, media_type="application/gzip", size=blob.size, sha256=blob.sha256, blob=blob.name)
        )
    return JobRecord(
        id=job_id,
        # Every region is measured and drawn, whether it may be believed or not.
        request=JobRequest(experimental=True),
        status="running",
        created_at=datetime.now(UTC),
        attempts=1,
        inputs=tuple(inputs),
    )


def do_job(record: JobRecord, models: Path, blobs: Path) -> JobTimes:
    """Run a job as ``core.jobs.child`` does for a worker. Raises RuntimeError where it fails."""
    request = ChildRequest(
        handler="benchmarks.volumes_job:measured", record=record, service="benchmark", log_level="error"
    )
    environment = {
        **os.environ,
        "FALX_MODELS_DIR": str(models),
        "FALX_BLOBS_URL": str(blobs),
        "FALX_BLOBS_MIN_FREE_BYTES": "0",
    }
    command = [sys.executable, "-m", "core.jobs.child"]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(request.model_dump_json() + "\n")
        child.stdin.flush()
        # stdin stays open: its end would mean that the worker is gone.
        last = ""
        for line in child.stdout:
            last = line
        wall_s = time.perf_counter() - started
    message: Any = json.loads(last) if last else {"kind": "died"}
    if message["kind"] != "done":
        raise RuntimeError(f"the job failed: {message}")
    outcome = message["outcome"]
    return JobTimes(
        wall_s,
        outcome["provenance"]["timings_s"],
        outcome["provenance"]["peak_mib"],
        {name: region["volume_ml"] for name, region in outcome["measurements"]["regions"].items()},
    )
