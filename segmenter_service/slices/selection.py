"""``POST /v1/series-selection``: a study comes in, a process of its own looks at it, the choice goes out."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import IO, Any, Final

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from core import errors
from core.contracts.operations.bodies import MULTIPART, REQUEST_PART, STUDY_PART
from core.contracts.operations.studies import DICOM_JSON, MEDIA_TYPES, SELECT_SERIES, ZIP
from core.contracts.sequences import SEQUENCES
from core.contracts.series import SeriesSelection
from core.errors import FieldError, InputTooLarge, InvalidRequest, QueueFull, RequestError, UnsupportedMediaType
from core.http.job_request import read_job_request
from core.http.multipart import ENVELOPE_BYTES, StreamedPart, StreamedParts, boundary_of, check_part_size
from core.http.requests import ClientGone, Deadline, cancel_on_disconnect, deadline_exceeded
from segmenter_service.slices.settings import SegmenterSettings

_LOOKED_AT: Final = 1024
_ZIPS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_BUSY_RETRY_S: Final = 5.0
_IDLE_S: Final = 30.0


@dataclass(slots=True)
class _Study:
    """What came in: ``file`` holds the study, of the media type ``kind``."""

    file: IO[bytes]
    kind: str
    series: dict[str, Any] = field(default_factory=dict)


def selection_router(settings: SegmenterSettings) -> APIRouter:
    """The one route of this module."""
    router, slots = APIRouter(), asyncio.Semaphore(settings.max_selections)

    @router.post(SELECT_SERIES.path, include_in_schema=False)
    async def select(request: Request) -> Response:
        deadline = Deadline.of(request, settings.request_timeout_s)
        kind = _media_type(request)
        if slots.locked():
            raise QueueFull("As many studies are being looked at as at once can be.", retry_after_s=_BUSY_RETRY_S)
        async with slots:
            with tempfile.TemporaryFile() as file:
                study = await _received(request, _Study(file, kind), settings, deadline)
                _check_beginning(study)
                selection = await cancel_on_disconnect(request, _look(study), deadline)
        return Response(selection.model_dump_json(), media_type="application/json")

    return router


def _media_type(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if kind not in MEDIA_TYPES or encoding not in ("identity", ""):
        known = ", ".join(MEDIA_TYPES)
        raise UnsupportedMediaType(
            f"A study comes as one of: {known}; without a Content-Encoding.",
            headers={"Accept-Post": known, "Accept-Encoding": "identity"},
        )
    return kind


async def _received(request: Request, study: _Study, settings: SegmenterSettings, deadline: Deadline) -> _Study:
    """The study with its file written. Raises for one that is too large, or not there in time."""
    limit = settings.max_metadata_bytes if study.kind == DICOM_JSON else settings.max_volume_bytes
    try:
        async with asyncio.timeout(deadline.remaining_s), aclosing(request.stream()) as stream:
            if study.kind == MULTIPART:
                await _take_parts(request, _bounded(stream, limit + ENVELOPE_BYTES), study, limit)
            else:
                await _write(study.file, _bounded(stream, limit))
    except TimeoutError:
        raise deadline_exceeded() from None
    except ClientDisconnect:
        raise ClientGone from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.StorageFull("There is no room left for the study.") from error
        raise
    return study


def _check_beginning(study: _Study) -> None:
    """Raise for what its first bytes already show to be no study: a process would say the same a second later."""
    study.file.seek(0)
    beginning = study.file.read(_LOOKED_AT)
    if study.kind == DICOM_JSON and not beginning.lstrip().startswith(b"["):
        raise InvalidRequest("The JSON is no list of instances' metadata: [{tag: element, ...}, ...].")
    if study.kind == ZIP and not beginning.startswith(_ZIPS):
        raise errors.InvalidDicom("The file is not a zip.")


async def _take_parts(request: Request, body: AsyncIterator[bytes], study: _Study, limit: int) -> None:
    study.kind = ""
    async for part in StreamedParts(body, boundary_of(request.headers["content-type"]), (STUDY_PART, REQUEST_PART)):
        if part.name == REQUEST_PART:
            study.series = dict((await read_job_request(part)).series)
        else:
            study.kind = ZIP
            await _write(study.file, _part_of(part, limit))
    if not study.kind:
        raise InvalidRequest(f"There is no study: send its zip as the part {STUDY_PART}.")


async def _part_of(part: StreamedPart, limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in part.chunks:
        size += len(chunk)
        check_part_size(part.name, size, limit)
        yield chunk


async def _bounded(stream: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    while (chunk := await _next(stream)) is not None:
        size += len(chunk)
        if size > limit:
            raise InputTooLarge(f"The study is larger than {limit} bytes.")
        if chunk:
            yield chunk
    if not size:
        raise InvalidRequest("The request has no body; send a study.")


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    """The next bytes, None at the end: a silent upload would keep its slot from others."""
    try:
        async with asyncio.timeout(_IDLE_S):
            return await anext(stream, None)
    except TimeoutError:
        raise errors.UploadStalled(f"Nothing of the body came for {_IDLE_S:g} seconds.") from None


async def _write(file: IO[bytes], chunks: AsyncIterator[bytes]) -> None:
    """In a thread: the event loop, and every slice with it, would wait for a slow disk."""
    async for chunk in chunks:
        await asyncio.to_thread(file.write, chunk)
    await asyncio.to_thread(file.flush)


async def _look(study: _Study) -> SeriesSelection:
    """The choice, from a process that ends with the request, whatever becomes of it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "segmenter_service.slices.looking",
        study.kind,
        str(study.file.fileno()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=(study.file.fileno(),),
    )
    try:
        said, _ = await process.communicate(json.dumps(study.series).encode())
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != 0:
        raise errors.InvalidDicom("A DICOM file of the study is broken: looking at it failed.")
    answer: dict[str, Any] = json.loads(said)
    if "error" in answer:
        raise _error(answer["error"])
    return _ordered(SeriesSelection.model_validate(answer["selection"]))


def _ordered(selection: SeriesSelection) -> SeriesSelection:
    ranked = sorted(selection.sequences, key=lambda one: SEQUENCES.index(one.sequence))
    return selection.model_copy(update={"sequences": tuple(ranked)})


def _error(told: dict[str, Any]) -> RequestError:
    """The error that the process met; one of a kind known here alone is that of its base."""
    kind = getattr(errors, told["kind"], None) or next(
        found
        for found in vars(errors).values()
        if isinstance(found, type) and issubclass(found, RequestError) and found.code == told["code"]
    )
    return kind(told["detail"], errors=[FieldError(*fault) for fault in told["errors"]])
