"""The operations of the volumes routes."""

from __future__ import annotations

from core.contracts.jobs import JobRequest
from core.contracts.sequences import SEQUENCES
from core.http.openapi import query_parameters
from gateway.jobs.headers import ListQuery
from gateway.jobs.intake import DESCRIPTION, MULTIPART, STUDY
from gateway.openapi import job_examples as examples
from gateway.openapi.parts import KEY_OR_LOOPBACK, Json, answer, parameters, problems, reference

_BINARY: Json = {"type": "string", "format": "binary"}
_OUTPUTS = (
    "Results that are made on request only. `probabilities`: `probability_{region}.nii.gz`, float32. `backdrop`: "
    "`backdrop.nii.gz`, the sequence that the pictures show (the first there is of flair, t1ce, t2, t1) in 256 greys "
    "on the voxels of the label map, for viewers: image data of the patient, kept and erased with the other results."
)
_SERIES = (
    f"With the part `{STUDY}`: which sequence a series is, by its SeriesInstanceUID; null leaves it out. The sequences "
    "that are not named are guessed from the series that are not named. No sequence twice."
)
_SERIES_EXAMPLE: Json = {"1.2.840.113619.2.5.1": "flair", "1.2.840.113619.2.5.2": "t1ce", "1.2.840.113619.2.5.3": None}
_JOB_ID: Json = {
    "name": "job_id",
    "in": "path",
    "required": True,
    "description": "The field `id` of a job.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "example": examples.JOB_ID,
}
_NAME: Json = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The field `name` of a result.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
    "example": "segmentation.nii.gz",
}


def job_paths() -> Json:
    """The paths under ``/v1/jobs``."""
    job = "/v1/jobs/{job_id}"
    return {
        "/v1/jobs": {"post": _submit(), "get": _list()},
        job: {"get": _read(), "delete": _delete()},
        f"{job}/cancel": {"post": _cancel()},
        f"{job}/events": {"get": _events()},
        f"{job}/results": {"get": _results()},
        f"{job}/results/{{name}}": {"get": _download()},
    }


def _operation(operation_id: str, summary: str, description: str, *more: Json) -> Json:
    return {
        "operationId": operation_id,
        "summary": summary,
        "description": description,
        "tags": ["volumes"],
        "security": KEY_OR_LOOPBACK,
        "parameters": [*more, *parameters()],
    }


def _header(name: str, description: str, schema: Json, example: object) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema, "example": example}


def _text(description: str, *, required: bool = True) -> Json:
    return {"description": description, "required": required, "schema": {"type": "string"}}


def _submit() -> Json:
    key = _header(
        "Idempotency-Key",
        "Makes the request safe to repeat: the same key with the same parts is answered with the first job.",
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "9c1a44d2-3f6e-4f0e-8a51-1d7d2f4be0aa",
    )
    prefer = _header(
        "Prefer",
        "`wait=N` waits up to N seconds for the job to end and then answers 200.",
        {"type": "string"},
        "wait=20",
    )
    accepted = answer("The job has been taken in and will not be lost.", "Job", examples.QUEUED)
    accepted["headers"] |= {
        "Location": _text("Address of the job."),
        "Retry-After": reference("headers", "RetryAfter"),
        "Preference-Applied": _text("The preference that was followed.", required=False),
    }
    done = answer("The job has ended while the caller waited.", "Job", examples.DONE)
    done["headers"]["Preference-Applied"] = _text("The preference that was followed.")
    return {
        **_operation(
            "submitJob",
            "Segment the tumour in a volume",
            "Parts named by sequence hold NIfTI files (`.nii` or `.nii.gz`) of one patient, any of them and at least "
            f"one; or the part `{STUDY}` holds a zip of one DICOM study. The body is streamed into the store.",
            key,
            prefer,
            *parameters("RequestTimeout")[:1],
        ),
        "requestBody": {"required": True, "content": {MULTIPART: _body()}},
        "responses": {"200": done, "202": accepted, **problems(*examples.SUBMIT_PROBLEMS)},
    }


def _body() -> Json:
    schema = JobRequest.model_json_schema()
    schema["properties"]["outputs"] |= {"description": _OUTPUTS, "examples": [["backdrop"]]}
    described = {**schema, "description": "Optional; the fields as they stand by default."}
    # Series are of studies only.
    properties = {name: field for name, field in schema["properties"].items() if name != "series"}
    of_files = {**described, "properties": properties}
    schema["properties"]["series"] |= {
        "description": _SERIES,
        "additionalProperties": False,
        "examples": [_SERIES_EXAMPLE],
    }
    sequences = {
        "type": "object",
        "properties": {**dict.fromkeys(SEQUENCES, _BINARY), DESCRIPTION: of_files},
        "anyOf": [{"required": [name]} for name in SEQUENCES],
        "additionalProperties": False,
    }
    study = {
        "type": "object",
        "required": [STUDY],
        "properties": {STUDY: _BINARY, DESCRIPTION: described},
        "additionalProperties": False,
    }
    encoding = {DESCRIPTION: {"contentType": "application/json"}}
    return {"schema": {"oneOf": [sequences, study]}, "encoding": encoding}


def _list() -> Json:
    answered = answer("A page of jobs.", "JobList", examples.PAGE)
    answered["headers"]["Link"] = _text('The next page, with rel="next"; absent on the last.', required=False)
    return {
        **_operation(
            "listJobs",
            "The caller's jobs",
            "The newest first. Without configured keys, all.",
            *query_parameters(ListQuery),
        ),
        "responses": {"200": answered, **problems(*examples.LIST_PROBLEMS)},
    }


def _read() -> Json:
    return {
        **_operation("readJob", "One job", "Its state, its place in the queue, and in the end its results.", _JOB_ID),
        "responses": {"200": answer("The job.", "Job", examples.DONE), **problems(*examples.JOB_PROBLEMS)},
    }


def _delete() -> Json:
    gone = {
        "description": "The job has been ended if need be; it, its inputs and its results are erased.",
        "headers": {"X-Request-ID": reference("headers", "RequestId")},
    }
    return {
        **_operation("deleteJob", "Erase a job", "Later requests for it are answered with 410.", _JOB_ID),
        "responses": {"204": gone, **problems(*examples.JOB_PROBLEMS)},
    }


def _cancel() -> Json:
    return {
        **_operation("cancelJob", "End a job", "It waits no more, or its work is stopped within seconds.", _JOB_ID),
        "responses": {
            "202": answer("The job is cancelled.", "Job", examples.CANCELLED),
            **problems(*examples.CANCEL_PROBLEMS),
        },
    }


def _events() -> Json:
    last = _header(
        "Last-Event-ID",
        "The last event that the caller has seen; those after it follow. Browsers send it by themselves.",
        {"type": "string", "pattern": "^[0-9]{1,20}-[0-9]{1,20}$"},
        "1795512601000-0",
    )
    stream = {
        "description": "`state` and `progress`, until the job ends; a comment every 15 seconds without either.",
        "headers": {
            "X-Request-ID": reference("headers", "RequestId"),
            "Cache-Control": reference("headers", "NoStore"),
        },
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": examples.EVENTS}},
    }
    over = {
        "description": "The job has ended and there are no events after the last one: do not ask again.",
        "headers": {"X-Request-ID": reference("headers", "RequestId")},
    }
    return {
        **_operation("followJob", "What happens to a job", "Server-sent events, from the beginning.", _JOB_ID, last),
        "responses": {"200": stream, "204": over, **problems(*examples.JOB_PROBLEMS)},
    }


def _results() -> Json:
    return {
        **_operation("listResults", "The results of a job", "None until it has succeeded.", _JOB_ID),
        "responses": {
            "200": answer("The results.", "ResultList", examples.RESULTS),
            **problems(*examples.JOB_PROBLEMS),
        },
    }


def _download() -> Json:
    byte_range = _header("Range", "One range of bytes.", {"type": "string"}, "bytes=0-1023")
    known = _header("If-None-Match", "An `ETag` that the caller has.", {"type": "string"}, '"9f86d0"')
    part = {**_file("The range."), "headers": {**_file_headers(), "Content-Range": _text("Which bytes, of how many.")}}
    same = {"description": "The caller has it already.", "headers": _file_headers()}
    refused = problems(*examples.DOWNLOAD_PROBLEMS)
    refused["416"]["headers"]["Content-Range"] = _text("How many bytes there are.")
    return {
        **_operation("readResult", "One result", "Streamed; also answers HEAD.", _JOB_ID, _NAME, byte_range, known),
        "responses": {"200": _file("The file."), "206": part, "304": same, **refused},
    }


def _file(description: str) -> Json:
    types = ("application/gzip", "application/json", "image/png", "application/octet-stream")
    content = {media_type: {"schema": _BINARY} for media_type in types}
    content["application/json"] = {"schema": {"type": "object"}, "example": {"whole_tumor": {"volume_ml": 41.7}}}
    return {"description": description, "headers": _file_headers(), "content": content}


def _file_headers() -> Json:
    return {
        "X-Request-ID": reference("headers", "RequestId"),
        "Cache-Control": reference("headers", "NoStore"),
        "ETag": _text("Names these bytes: their SHA-256."),
        "Repr-Digest": _text("SHA-256 of the whole file, as RFC 9530 writes it."),
        "Accept-Ranges": _text("`bytes`.", required=False),
    }
