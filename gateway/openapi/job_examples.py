"""Example answers of the volumes routes, made from the contracts themselves."""

from __future__ import annotations

from datetime import UTC, datetime

from core.contracts.base import Contract
from core.contracts.jobs import Job, JobFile, JobList, JobResult, Progress, ResultList
from core.errors import (
    DeadlineExceeded,
    FalxError,
    Forbidden,
    IdempotencyConflict,
    IdempotencyKeyReuse,
    InputTooLarge,
    InvalidDicom,
    InvalidNifti,
    InvalidRequest,
    JobNotCancellable,
    MethodNotAllowed,
    MissingSequence,
    NotFound,
    NotReady,
    QueueFull,
    QueueUnavailable,
    RangeNotSatisfiable,
    RateLimited,
    ResultExpired,
    StorageFull,
    StorageUnavailable,
    TooFewSlices,
    Unauthorized,
    UnsupportedMediaType,
    UnusableVolume,
)

JOB_ID = "5f2d7c0e9a3b4c1d8e6f7a2b3c4d5e6f"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_CREATED = datetime(2026, 11, 24, 9, 30, 0, tzinfo=UTC)
_INPUT = JobFile(name="flair", media_type="application/gzip", size=2_412_806, sha256=_SHA256)


def _result(name: str, media_type: str, size: int) -> JobResult:
    href = f"/v1/jobs/{JOB_ID}/results/{name}"
    return JobResult(name=name, media_type=media_type, size=size, sha256=_SHA256, href=href)


_RESULTS = (
    _result("segmentation.nii.gz", "application/gzip", 48_211),
    _result("report.json", "application/json", 3_120),
    _result("axial.png", "image/png", 61_004),
)

QUEUED: Contract = Job(
    id=JOB_ID,
    type="segmentation",
    priority="routine",
    status="queued",
    progress=Progress(),
    queue_position=1,
    created_at=_CREATED,
    attempts=0,
    inputs=(_INPUT,),
)
CANCELLED: Contract = Job(
    id=JOB_ID,
    type="segmentation",
    priority="routine",
    status="cancelled",
    progress=Progress(),
    created_at=_CREATED,
    finished_at=_CREATED.replace(second=4),
    expires_at=_CREATED.replace(month=12, day=1, second=4),
    attempts=0,
    inputs=(_INPUT,),
)
_DONE = Job(
    id=JOB_ID,
    type="segmentation",
    priority="routine",
    status="succeeded",
    progress=Progress(fraction=1.0, stage="done"),
    created_at=_CREATED,
    started_at=_CREATED.replace(second=1),
    finished_at=_CREATED.replace(second=19),
    expires_at=_CREATED.replace(month=12, day=1, second=19),
    attempts=1,
    inputs=(_INPUT,),
    results=_RESULTS,
    measurements={"whole_tumor": {"volume_ml": 41.7}},
    provenance={"model": {"name": "tumor-volume", "version": "1"}},
)
DONE: Contract = _DONE
PAGE: Contract = JobList(jobs=(_DONE,), total=1)
RESULTS: Contract = ResultList(job=JOB_ID, status="succeeded", results=_RESULTS)
EVENTS = (
    "retry: 2000\n\n"
    'id: 1795512600000-0\nevent: state\ndata: {"status":"queued","attempts":0}\n\n'
    'id: 1795512601000-0\nevent: state\ndata: {"status":"running","attempts":1}\n\n'
    'id: 1795512605000-0\nevent: progress\ndata: {"fraction":0.4,"stage":"segment"}\n\n'
    ": still here\n\n"
    'id: 1795512619000-0\nevent: state\ndata: {"status":"succeeded","attempts":1}\n\n'
)

_QUEUE_PROBLEMS: tuple[FalxError, ...] = (
    Unauthorized("Send an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."),
    Forbidden("This needs the scope 'jobs'; the key 'dashboard' has: infer."),
    InvalidRequest("A query parameter is unknown here; known: none."),
    MethodNotAllowed("This address answers GET, POST."),
    QueueUnavailable("The job queue cannot be reached.", retry_after_s=5),
    NotReady("The server is stopping.", retry_after_s=1),
)
LIST_PROBLEMS = _QUEUE_PROBLEMS
JOB_PROBLEMS: tuple[FalxError, ...] = (
    *_QUEUE_PROBLEMS,
    NotFound("There is no job with this id."),
    ResultExpired("The job and its files have been erased."),
)
SUBMIT_PROBLEMS: tuple[FalxError, ...] = (
    *_QUEUE_PROBLEMS,
    InvalidNifti("flair: The file is not NIfTI: it does not begin with the size of a NIfTI header."),
    InvalidDicom("The part is not a zip archive; put the files of one study into one."),
    IdempotencyConflict("The first request with this Idempotency-Key is still being taken in."),
    ResultExpired("The job and its files have been erased."),
    InputTooLarge("The part t1 is larger than 536870912 bytes."),
    UnsupportedMediaType("Volumes come as multipart/form-data, without a Content-Encoding; .nii.gz files as they are."),
    MissingSequence("There is no volume: send at least one of t1, t1ce, t2, flair, or a zipped study as dicom."),
    UnusableVolume("flair: The file holds several frames, one is needed."),
    TooFewSlices("flair: The file holds one slice, a volume is needed."),
    IdempotencyKeyReuse("The Idempotency-Key belongs to an earlier request with another body."),
    QueueFull("As many jobs wait as are taken in.", retry_after_s=12),
    RateLimited("At most 600 per 1 minute per caller. Try again in 12 s.", retry_after_s=12),
    StorageUnavailable("The storage cannot be reached.", retry_after_s=5),
    DeadlineExceeded("The answer was not ready in time."),
    StorageFull("There is no room left on the disk."),
)
CANCEL_PROBLEMS: tuple[FalxError, ...] = (*JOB_PROBLEMS, JobNotCancellable("The job has ended: succeeded."))
DOWNLOAD_PROBLEMS: tuple[FalxError, ...] = (
    *JOB_PROBLEMS,
    RangeNotSatisfiable("The file has 3120 bytes; the range holds none of them."),
    StorageUnavailable("The storage cannot be reached.", retry_after_s=5),
)
