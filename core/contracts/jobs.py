"""Jobs: what callers read of one, and the record that is kept of it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, field_validator
from pydantic_core import PydanticCustomError

from core.contracts.base import DISCLAIMER, Contract, DescribedAs
from core.contracts.manifest import Sha256
from core.contracts.problem import Problem
from core.contracts.report import Measurements
from core.contracts.sequences import BACKDROP_ORDER, SequenceName

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Priority = Literal["urgent", "routine"]

# In the order in which workers serve them.
PRIORITIES: Final[tuple[Priority, ...]] = ("urgent", "routine")
STATUSES: Final[tuple[JobStatus, ...]] = ("queued", "running", "succeeded", "failed", "cancelled")
ACTIVE: Final[frozenset[JobStatus]] = frozenset({"queued", "running"})
TERMINAL: Final[frozenset[JobStatus]] = frozenset({"succeeded", "failed", "cancelled"})
# A terminal status is never left. running -> queued: the attempt came to nothing and the job is tried again.
TRANSITIONS: Final[dict[JobStatus, frozenset[JobStatus]]] = {
    "queued": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"queued", "succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

# More series than this are not told apart by hand.
MOST_SERIES: Final = 32

JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}(@[0-9A-Za-z.]{1,63})?$")]
OutputName = Literal["backdrop", "dicom", "probabilities"]
"""A result that is made on request only."""
DICOM_RESULTS: Final[OutputName] = "dicom"
# SeriesInstanceUID: DICOM PS3.5 section 9.1.
SeriesUid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
# Segments of a blob's name, joined by slashes; none of them starts with a dot.
BlobName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", max_length=512)]


# No UID of DICOM begins like this.
_HASHED: Final = "0.0."


def hashed_uid(uid: str) -> str:
    """What stands for ``uid`` and does not say it, written like one: made of the first 32 digits of its SHA-256.

    What has been hashed already stays as it is.
    """
    if uid.startswith(_HASHED):
        return uid
    return f"{_HASHED}{int(hashlib.sha256(uid.encode()).hexdigest()[:32], 16)}"


def digits_of(hashed: str) -> str:
    """The first 12 hexadecimal digits of the SHA-256 that ``hashed_uid`` was made of."""
    number = hashed.removeprefix(_HASHED)
    return f"{int(number):032x}"[:12] if number.isdecimal() else ""


class JobRequest(Contract):
    """The part ``job`` of ``POST /v1/jobs``: what is wanted of the volumes. Optional, as each of its fields is."""

    type: Slug = Field(default="segmentation", description="What is to be done; `segmentation` where it is not said.")
    model: ModelName | None = Field(
        default=None,
        description="`NAME` or `NAME@VERSION` of a model for volumes in `GET /v1/models`; without it, that of the "
        "worker that takes the job. Refused where no worker has it.",
        examples=["tumor-volume", "tumor-volume@1"],
    )
    outputs: tuple[OutputName, ...] = Field(
        default=(),
        description="Results that are made on request only. `probabilities`: `probability_{region}.nii.gz`, float32. "
        "`backdrop`: `backdrop.nii.gz`, the sequence that the pictures show (the first there is of "
        f"{', '.join(BACKDROP_ORDER)}) in 256 greys on the voxels of the label map, for viewers: image data of the "
        "patient, kept and erased with the other results. `dicom`, with the part `dicom` only: `measurements.sr.dcm`, "
        "`pictures.sc.dcm` and, where there is tumour, `segmentation.seg.dcm` (the worker may be set to write "
        "`outlines.pr.dcm` as well), which bear the patient and the study of "
        "the series that they lie on.",
        examples=[["backdrop"]],
    )
    priority: Priority = Field(
        default="routine", description="`urgent` jobs start before `routine` ones, which others are."
    )
    experimental: bool = Field(
        default=False,
        description="`true` asks for the regions as well that nobody may rely on, marked as experimental.",
    )
    series: dict[SeriesUid, SequenceName | None] = Field(
        default_factory=dict,
        max_length=MOST_SERIES,
        description="With the part `dicom`: which sequence a series is, by its SeriesInstanceUID; null leaves it out. "
        "The sequences that are not named are guessed from the series that are not named. No sequence twice. "
        "The record of the job has a number made of the SHA-256 of each UID in its place.",
        examples=[{"1.2.840.113619.2.5.1": "flair", "1.2.840.113619.2.5.3": None}],
    )

    def hashed(self) -> JobRequest:
        """The request as a record keeps it."""
        series = {hashed_uid(uid): sequence for uid, sequence in self.series.items()}
        return self.model_copy(update={"series": series})

    @field_validator("series")
    @classmethod
    def _each_sequence_once(cls, series: dict[str, SequenceName | None]) -> dict[str, SequenceName | None]:
        named = [sequence for sequence in series.values() if sequence]
        if len(named) > len(set(named)):
            raise PydanticCustomError("sequence_twice", "Two series are named as the same sequence")
        return series


class Progress(Contract):
    """How far a job has come; ``fraction`` is of the whole job, ``stage`` a word of the pipeline."""

    fraction: float = Field(default=0.0, ge=0, le=1)
    stage: str = Field(default="queued", max_length=64)


class JobFile(Contract):
    """One input or output; ``size`` in bytes."""

    name: FileName
    media_type: str
    size: int = Field(ge=0)
    sha256: Sha256


class JobResult(JobFile):
    """A result with the address that serves it."""

    href: str


class Job(Contract):
    """A job as callers read it. ``queue_position`` is 1 for the job that starts next, None unless queued."""

    id: JobId
    type: Slug
    priority: Priority
    status: JobStatus
    progress: Progress
    queue_position: int | None = Field(default=None, ge=1)
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    attempts: int = Field(ge=0)
    inputs: tuple[JobFile, ...] = ()
    results: tuple[JobResult, ...] = ()
    measurements: Annotated[dict[str, JsonValue], DescribedAs(Measurements)] = Field(default_factory=dict)
    provenance: dict[str, JsonValue] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None
    disclaimer: str = DISCLAIMER


class JobList(Contract):
    """Answer of ``GET /v1/jobs``: newest first; ``total`` counts all that match."""

    jobs: tuple[Job, ...]
    total: int = Field(ge=0)
    disclaimer: str = DISCLAIMER


class ResultList(Contract):
    """Answer of ``GET /v1/jobs/{id}/results``; empty until the job has succeeded."""

    job: JobId
    status: JobStatus
    results: tuple[JobResult, ...]
    disclaimer: str = DISCLAIMER


class StoredFile(JobFile):
    """A file of a job and the blob that holds it."""

    blob: BlobName

    def public(self) -> JobFile:
        """The file without its place in the store."""
        return JobFile(name=self.name, media_type=self.media_type, size=self.size, sha256=self.sha256)


class JobRecord(Contract):
    """What is kept of a job, as JSON under its id.

    ``schema_version`` grows with every change of the fields. ``claimed_by`` names the attempt that runs the job;
    only that attempt may report on it. ``owner`` is the caller who may see it; None where callers have no names.
    """

    schema_version: Literal[1] = 1
    id: JobId
    request: JobRequest
    owner: str | None = Field(default=None, min_length=1, max_length=128)
    status: JobStatus = "queued"
    progress: Progress = Progress()
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    attempts: int = Field(default=0, ge=0)
    claimed_by: str | None = None
    inputs: tuple[StoredFile, ...] = ()
    results: tuple[StoredFile, ...] = ()
    measurements: dict[str, JsonValue] = Field(default_factory=dict)
    provenance: dict[str, JsonValue] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None
    request_id: str | None = None

    @property
    def terminal(self) -> bool:
        """Whether the job has ended, however it did."""
        return self.status in TERMINAL

    def result(self, name: str) -> StoredFile | None:
        """The result called ``name``."""
        return next((file for file in self.results if file.name == name), None)

    def public(self, queue_position: int | None = None) -> Job:
        """The job as callers read it."""
        return Job(
            id=self.id,
            type=self.request.type,
            priority=self.request.priority,
            status=self.status,
            progress=self.progress,
            queue_position=queue_position if self.status == "queued" else None,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            expires_at=self.expires_at,
            attempts=self.attempts,
            inputs=tuple(file.public() for file in self.inputs),
            results=tuple(
                JobResult(**file.public().model_dump(), href=f"/v1/jobs/{self.id}/results/{file.name}")
                for file in self.results
            ),
            measurements=self.measurements,
            provenance=self.provenance,
            warnings=self.warnings,
            problem=self.problem,
        )


class JobEvent(Contract):
    """One server-sent event; ``id`` is what ``Last-Event-ID`` resumes after, ``data`` a JSON object."""

    id: str
    event: Literal["state", "progress"]
    data: str


class JobOutcome(Contract):
    """What a finished job hands over; its results are in the store already."""

    results: tuple[StoredFile, ...] = ()
    measurements: dict[str, JsonValue] = Field(default_factory=dict)
    provenance: dict[str, JsonValue] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
