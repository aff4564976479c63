"""Jobs of volumes in this process: inputs into a real store, the handler run, results read back and verified."""

from __future__ import annotations

import asyncio
import gzip
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.blobs.retention import input_name
from core.blobs.settings import BlobSettings
from core.blobs.store import BlobStore, open_store
from core.contracts.jobs import JobOutcome, JobRecord, JobRequest, StoredFile
from core.jobs.handler import Work
from segmenter_service.volumes.job import run
from tests.fixtures.volumes import nibabel


@dataclass
class Finished:
    """What a job handed over, its results read from the store, and what it reported on its way."""

    outcome: JobOutcome
    files: Mapping[str, bytes]
    reports: Sequence[tuple[str, float]]

    def image(self, name: str = "segmentation.nii.gz") -> Any:
        """A NIfTI result as nibabel reads it."""
        return nibabel.Nifti1Image.from_bytes(gzip.decompress(self.files[name]))

    def labels(self) -> npt.NDArray[np.uint8]:
        """The label map as stored."""
        return np.asarray(self.image().dataobj)

    def report(self) -> Any:
        """The report."""
        return json.loads(self.files["report.json"])


@dataclass
class Bench:
    """One store in ``folder``; the environment of the test must name it as FALX_BLOBS_URL."""

    folder: Path
    store: BlobStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = open_store(BlobSettings(blobs_url=str(self.folder), blobs_min_free_bytes=0))

    def put(self, job_id: str, name: str, data: bytes) -> StoredFile:
        """Store an input as the gateway does."""

        async def chunks() -> Any:
            yield data

        blob = asyncio.run(self.store.put(input_name(job_id, name), chunks()))
        return StoredFile(name=name, media_type="application/gzip", size=blob.size, sha256=blob.sha256, blob=blob.name)

    def record(self, inputs: Mapping[str, bytes], attempts: int = 1, **request: Any) -> JobRecord:
        """A job with ``inputs`` in the store."""
        job_id = uuid.uuid4().hex
        return JobRecord(
            id=job_id,
            request=JobRequest(**request),
            status="running",
            created_at=datetime.now(UTC),
            attempts=attempts,
            inputs=tuple(self.put(job_id, name, data) for name, data in inputs.items()),
        )

    def run(self, inputs: Mapping[str, bytes], **request: Any) -> Finished:
        """Do a job; raises what the handler raises."""
        return self.do(self.record(inputs, **request))

    def do(self, record: JobRecord) -> Finished:
        """Do the job of a record."""
        reports: list[tuple[str, float]] = []
        outcome = run(Work(record, lambda stage, fraction: reports.append((stage, fraction))))
        return Finished(outcome, {file.name: self.read(file) for file in outcome.results}, reports)

    def read(self, file: StoredFile) -> bytes:
        """A stored file; its sha256 is checked on the way."""

        async def whole() -> bytes:
            return b"".join([chunk async for chunk in self.store.read(file.blob, file.sha256)])

        data = asyncio.run(whole())
        assert len(data) == file.size
        return data
