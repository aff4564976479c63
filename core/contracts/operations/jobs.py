"""The operations on volumes: a job is sent, watched, ended, and its results are fetched."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from pydantic import Field

from core import errors
from core.contracts.base import Contract
from core.contracts.jobs import Job, JobFile, JobList, JobResult, JobStatus, Progress, ResultList
from core.contracts.operations.bodies import MULTIPART, REQUEST_PART, STUDY_PART, volume_body
from core.contracts.operations.operation import (
    BINARY,
    EXAMPLE_SHA256,
    JSON,
    OWN_REQUEST_ID,
    REQUEST_TIMEOUT,
    RETRY_AFTER,
    TEXT,
    Answer,
    Content,
    Header,
    Operation,
    Parameter,
    json_answer,
    query_parameters,
)
from core.contracts.report import BoundingBox, LargestSection, RegionMeasurement, Report

EVENT_STREAM: Final = "text/event-stream"
_ID: Final = "5f2d7c0e9a3b4c1d8e6f7a2b3c4d5e6f"
_CREATED: Final = datetime(2026, 11, 24, 9, 30, 0, tzinfo=UTC)


def _result(name: str, media_type: str, size: int) -> JobResult:
    href = f"/v1/jobs/{_ID}/results/{name}"
    return JobResult(name=name, media_type=media_type, size=size, sha256=EXAMPLE_SHA256, href=href)


_QUEUED: Final = Job(
    id=_ID,
    type="segmentation",
    priority="routine",
    status="queued",
    progress=Progress(),
    queue_position=1,
    created_at=_CREATED,
    attempts=0,
    inputs=(JobFile(name="flair", media_type="application/gzip", size=2_412_806, sha256=EXAMPLE_SHA256),),
)
_CANCELLED: Final = _QUEUED.model_copy(
    update={
        "status": "cancelled",
        "queue_position": None,
        "finished_at": _CREATED.replace(second=4),
        "expires_at": _CREATED.replace(month=12, day=1, second=4),
    }
)
_REGION: Final = RegionMeasurement(
    voxels=41_700,
    volume_ml=41.7,
    bounding_box=BoundingBox(start=(80, 60, 70), stop=(120, 105, 112)),
    centroid_mm=(22.4, 31.0, 12.5),
    longest_diameter_mm=54.2,
    largest_section=LargestSection(slice=91, area_mm2=1480.0, longest_mm=52.1, perpendicular_mm=38.4),
)
_MEASURED: Final = {
    "regions": {"whole_tumor": _REGION.model_dump(mode="json"), "enhancing": None},
    "withheld": {"enhancing": "How well this model finds it was not validated."},
    "experimental": {},
    "axial_axis": 2,
    "slices_with_tumor": 1,
    "components": {"kept": 1, "removed": 0},
    "max_probability": {"whole_tumor": 0.998, "enhancing_tumor": None},
    "certainty": {"whole_tumor": 0.81, "enhancing_tumor": 0.54},
}
_PROVENANCE: Final = {"model": {"name": "tumor-volume", "version": "1"}}
_DONE: Final = _QUEUED.model_copy(
    update={
        "status": "succeeded",
        "queue_position": None,
        "progress": Progress(fraction=1.0, stage="done"),
        "started_at": _CREATED.replace(second=1),
        "finished_at": _CREATED.replace(second=19),
        "expires_at": _CREATED.replace(month=12, day=1, second=19),
        "attempts": 1,
        "results": (
            _result("segmentation.nii.gz", "application/gzip", 48_211),
            _result("report.json", JSON, 3_120),
            _result("axial.png", "image/png", 61_004),
        ),
        "measurements": _MEASURED,
        "provenance": _PROVENANCE,
    }
)
_REPORT: Final = Report.model_validate(
    {
        "schema_version": 1,
        "labels": {"2": "whole tumour"},
        "job": _ID,
        **_MEASURED,
        "slices": [{"slice": 91, "area_mm2": {"whole_tumor": 1480.0}}],
        "warnings": [],
        "provenance": _PROVENANCE,
    }
)
_EVENTS: Final = (
    "retry: 2000\n\n"
    'id: 1795512600000-0\nevent: state\ndata: {"status":"queued","attempts":0}\n\n'
    'id: 1795512601000-0\nevent: state\ndata: {"status":"running","attempts":1}\n\n'
    'id: 1795512605000-0\nevent: progress\ndata: {"fraction":0.4,"stage":"segment"}\n\n'
    ": still here\n\n"
    'id: 1795512619000-0\nevent: state\ndata: {"status":"succeeded","attempts":1}\n\n'
)

_QUEUE_REFUSALS: Final[tuple[errors.FalxError, ...]] = (
    errors.InvalidRequest("A query parameter is unknown here; known: none."),
    errors.QueueUnavailable("The job queue cannot be reached.", retry_after_s=5),
    errors.NotReady("The server is stopping.", retry_after_s=1),
)
_ERASED: Final = errors.ResultExpired("The job and its files have been erased.")
_NO_STORAGE: Final = errors.StorageUnavailable("The storage cannot be reached.", retry_after_s=5)

_PREFERENCE: Final = Header("Preference-Applied", "The preference that was followed.")


class SubmitQuery(Contract):
    """The query of a submission."""

    experimental: bool = Field(
        default=False,
        description="`true` asks for the regions as well that nobody may rely on, marked as experimental; the same as "
        "`experimental` in the part `job`.",
    )


SUBMIT_JOB: Final = Operation(
    id="submitJob",
    route="POST /v1/jobs",
    tag="volumes",
    summary="Segment the tumour in a volume",
    description="Parts named by sequence hold NIfTI files (`.nii` or `.nii.gz`) of one patient, any of them and at "
    f"least one; or the part `{STUDY_PART}` alone holds a zip of one DICOM study. The part `{REQUEST_PART}` says what "
    "is wanted of them: sent first, it is judged before anything else is uploaded. Bodies are streamed into the "
    "store.\n\n"
    "Regions that the model does not find well, or is not sure of in this case, are withheld: null in `measurements` "
    "and `report.json`, with the reason under `withheld`, and in the label map part of the region around them. "
    "`experimental=true` shows them all the same, with the reason under `experimental`.",
    parameters=(
        Parameter(
            "Idempotency-Key",
            "header",
            "Makes the request safe to repeat: the same key with the same parts is answered with the first job.",
            {"type": "string", "pattern": "^[!-~]{1,255}$"},
            ("9c1a44d2-3f6e-4f0e-8a51-1d7d2f4be0aa",),
        ),
        Parameter(
            "Prefer",
            "header",
            "`wait=N` waits up to N seconds for the job to end and then answers 200.",
            examples=("wait=20",),
        ),
        *query_parameters(SubmitQuery),
        REQUEST_TIMEOUT,
        OWN_REQUEST_ID,
    ),
    also=("GET",),
    body=volume_body(),
    answers={
        200: json_answer("The job has ended while the caller waited.", _DONE, _PREFERENCE),
        202: json_answer(
            "The job has been taken in and will not be lost.",
            _QUEUED,
            Header("Location", "Address of the job."),
            RETRY_AFTER,
            replace(_PREFERENCE, required=False),
        ),
    },
    refusals=(
        *_QUEUE_REFUSALS,
        errors.InvalidNifti("flair: The file is not NIfTI: it does not begin with the size of a NIfTI header."),
        errors.InvalidDicom("The part is not a zip archive; put the files of one study into one."),
        errors.IdempotencyConflict(
            "The first request with this Idempotency-Key is still being taken in.", retry_after_s=1
        ),
        _ERASED,
        errors.InputTooLarge("The part t1 is larger than 536870912 bytes."),
        errors.UploadStalled("Nothing of the body came for 30 seconds."),
        errors.UploadsBusy("16 jobs are being uploaded, as many as are taken in at once.", retry_after_s=10),
        errors.UnsupportedMediaType(
            f"Volumes come as {MULTIPART}, without a Content-Encoding; .nii.gz files as they are.",
            headers={"Accept-Encoding": "identity"},
        ),
        errors.MissingSequence(
            "There is no volume: send at least one of t1, t1ce, t2, flair, or a zipped study as dicom."
        ),
        errors.UnusableVolume("flair: The file holds several frames, one is needed."),
        errors.TooFewSlices("flair: The file holds one slice, a volume is needed."),
        errors.IdempotencyKeyReuse("The Idempotency-Key belongs to an earlier request with another body."),
        errors.QueueFull("As many jobs wait as are taken in.", retry_after_s=12),
        errors.QuotaExceeded("50 jobs of this key wait, as many as may (waiting).", retry_after_s=12),
        _NO_STORAGE,
        errors.DeadlineExceeded("The answer was not ready in time."),
        errors.StorageFull("There is no room left on the disk."),
    ),
)


class JobsQuery(Contract):
    """The query of the list of jobs."""

    status: JobStatus | None = Field(default=None, description="Jobs in this status alone.")
    limit: int = Field(default=50, ge=1, le=200, description="Jobs on one page.")
    offset: int = Field(default=0, ge=0, le=1_000_000_000, description="Jobs to pass over, counted from the newest.")


LIST_JOBS: Final = Operation(
    id="listJobs",
    route="GET /v1/jobs",
    tag="volumes",
    summary="The caller's jobs",
    description="The newest first. Without configured keys, all.",
    parameters=(*query_parameters(JobsQuery), OWN_REQUEST_ID),
    answers={
        200: json_answer(
            "A page of jobs.",
            JobList(jobs=(_DONE,), total=1),
            Header("Link", 'The next page, with rel="next"; absent on the last.', required=False),
        )
    },
    refusals=_QUEUE_REFUSALS,
    also=("POST",),
)

_JOB_ID: Final = Parameter(
    "job_id", "path", "The field `id` of a job.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, (_ID,)
)


def _on_job(
    operation_id: str,
    route: str,
    summary: str,
    description: str,
    answers: dict[int, Answer],
    *refusals: errors.FalxError,
    parameters: tuple[Parameter, ...] = (),
    also: tuple[str, ...] = (),
) -> Operation:
    return Operation(
        id=operation_id,
        route=route,
        tag="volumes",
        summary=summary,
        description=description,
        parameters=(_JOB_ID, *parameters, OWN_REQUEST_ID),
        answers=answers,
        refusals=(*_QUEUE_REFUSALS, errors.NotFound("There is no job with this id."), _ERASED, *refusals),
        also=also,
    )


READ_JOB: Final = _on_job(
    "readJob",
    "GET /v1/jobs/{job_id}",
    "One job",
    "Its state, its place in the queue, and in the end its results.",
    {200: json_answer("The job.", _DONE)},
    also=("DELETE",),
)
DELETE_JOB: Final = _on_job(
    "deleteJob",
    "DELETE /v1/jobs/{job_id}",
    "Erase a job",
    "Later requests for it are answered with 410.",
    {204: Answer("The job has been ended if need be; it, its inputs and its results are erased.")},
    also=("GET",),
)
CANCEL_JOB: Final = _on_job(
    "cancelJob",
    "POST /v1/jobs/{job_id}/cancel",
    "End a job",
    "It waits no more, or its work is stopped within seconds.",
    {202: json_answer("The job is cancelled.", _CANCELLED)},
    errors.JobNotCancellable("The job has ended: succeeded."),
)
FOLLOW_JOB: Final = _on_job(
    "followJob",
    "GET /v1/jobs/{job_id}/events",
    "What happens to a job",
    "Server-sent events, from the beginning.",
    {
        200: Answer(
            "`state` and `progress`, until the job ends; a comment every 15 seconds without either.",
            {EVENT_STREAM: Content(TEXT, _EVENTS)},
            (Header("X-Accel-Buffering", "`no`: a proxy passes each event on as it comes."),),
        ),
        204: Answer("The job has ended and there are no events after the last one: do not ask again."),
    },
    parameters=(
        Parameter(
            "Last-Event-ID",
            "header",
            "The last event that the caller has seen; those after it follow. Browsers send it by themselves.",
            {"type": "string", "pattern": "^[0-9]{1,20}-[0-9]{1,20}$"},
            ("1795512601000-0",),
        ),
    ),
)
LIST_RESULTS: Final = _on_job(
    "listResults",
    "GET /v1/jobs/{job_id}/results",
    "The results of a job",
    "None until it has succeeded.",
    {200: json_answer("The results.", ResultList(job=_ID, status="succeeded", results=_DONE.results))},
)

_OF_SAME_BYTES: Final = (
    Header("ETag", "Names these bytes: their SHA-256."),
    Header("Repr-Digest", "SHA-256 of the whole file, as RFC 9530 writes it."),
    Header("Accept-Ranges", "`bytes`."),
)
_DISPOSITION: Final = Header("Content-Disposition", "The name of the file.")
_FILE: Final = Answer(
    "The file.",
    {media_type: Content(BINARY) for media_type in ("application/octet-stream", "application/gzip", "image/png")},
    (*_OF_SAME_BYTES, _DISPOSITION),
)
_UNCHANGED: Final = Answer("The caller has it already.", headers=_OF_SAME_BYTES)
_IF_NONE_MATCH: Final = Parameter("If-None-Match", "header", "An `ETag` that the caller has.", examples=('"9f86d0"',))

READ_RESULT: Final = _on_job(
    "readResult",
    "GET /v1/jobs/{job_id}/results/{name}",
    "One result",
    "Streamed; also answers HEAD. `readReport` reads the report.",
    {
        200: _FILE,
        206: Answer(
            "The range.", _FILE.content, (*_FILE.headers, Header("Content-Range", "Which bytes, of how many."))
        ),
        304: _UNCHANGED,
    },
    _NO_STORAGE,
    errors.RangeNotSatisfiable(
        "The file has 3120 bytes; the range holds none of them.", headers={"Content-Range": "bytes */3120"}
    ),
    parameters=(
        Parameter(
            "name",
            "path",
            "The field `name` of a result.",
            {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
            ("segmentation.nii.gz",),
        ),
        Parameter("Range", "header", "One range of bytes.", examples=("bytes=0-1023",)),
        _IF_NONE_MATCH,
    ),
    also=("HEAD",),
)
READ_REPORT: Final = _on_job(
    "readReport",
    "GET /v1/jobs/{job_id}/results/report.json",
    "The report",
    "The result `report.json`; as any other it can be had in ranges, and answers HEAD.",
    {
        200: Answer(
            "The report.", json_answer("", _REPORT, without=["series"]).content, (*_OF_SAME_BYTES, _DISPOSITION)
        ),
        304: _UNCHANGED,
    },
    _NO_STORAGE,
    parameters=(_IF_NONE_MATCH,),
    also=("HEAD",),
)

JOBS: Final = (
    SUBMIT_JOB,
    LIST_JOBS,
    READ_JOB,
    DELETE_JOB,
    CANCEL_JOB,
    FOLLOW_JOB,
    LIST_RESULTS,
    READ_REPORT,
    READ_RESULT,
)
"""The report stands before the results, among which it is: the first route that matches answers."""
