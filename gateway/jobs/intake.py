"""The body of ``POST /v1/jobs`` on its way into the store, part by part; no volume is ever held in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from core.blobs.retention import input_name
from core.blobs.store import BlobStore
from core.contracts.jobs import JobRequest, StoredFile
from core.contracts.operations.bodies import MULTIPART, REQUEST_PART, STUDY_PART
from core.contracts.sequences import SEQUENCES
from core.contracts.service import ModelSummary
from core.errors import FieldError, InvalidRequest, MissingSequence, UnsupportedMediaType, UploadStalled
from core.http.job_request import read_job_request
from core.http.multipart import ENVELOPE_BYTES, StreamedPart, StreamedParts, boundary_of, check_part_size
from core.http.requests import Deadline, deadline_exceeded
from gateway.auth import Principal
from gateway.body import content_length, too_large
from gateway.jobs.first_bytes import Head, NiftiHead, ZipHead
from gateway.jobs.headers import wants_experimental
from gateway.jobs.wishes import check_wishes
from gateway.settings import GatewaySettings

_NAMES: Final = (*SEQUENCES, STUDY_PART, REQUEST_PART)


@dataclass(slots=True)
class Received:
    """What came in: the job that is asked for, and its inputs."""

    request: JobRequest = field(default_factory=JobRequest)
    inputs: list[StoredFile] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Tells whether two bodies ask for the same, whatever their boundaries and the order of their parts."""
        parts = {file.name: file.sha256 for file in self.inputs}
        content = json.dumps({"job": self.request.model_dump(mode="json"), "parts": parts}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


class Receiver:
    """Takes in the parts of one request. Without a ``store`` they are hashed and let go.

    ``models`` are those that the workers have, against which the request of ``caller`` is held as soon as it can be.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        store: BlobStore | None,
        job_id: str,
        deadline: Deadline,
        caller: Principal,
        models: Sequence[ModelSummary] = (),
    ) -> None:
        self._settings = settings
        self._caller = caller
        self._deadline = deadline
        self._store = store
        self._job_id = job_id
        self._models = models
        self._received = Received()

    async def receive(self, request: Request) -> Received:
        """Read the whole body.

        Raises ``UnsupportedMediaType``, ``InvalidRequest``, ``MissingSequence``, ``UnknownModel``, ``InputTooLarge``,
        what the first bytes of a file give away (``InvalidNifti`` and the like), ``Forbidden`` for an urgent job
        of a key that may send none, ``StorageFull``, ``StorageUnavailable``, ``DeadlineExceeded``, ``UploadStalled``,
        and ``ClientDisconnect`` when the client hangs up. What was stored by then is for the caller to erase.
        """
        experimental = wants_experimental(request.query_params)
        boundary = _boundary(request)
        async for part in StreamedParts(self._body(request), boundary, _NAMES):
            await self._take(part)
        if not self._received.inputs:
            names = ", ".join(SEQUENCES)
            raise MissingSequence(
                f"There is no volume: send at least one of {names}, or a zipped study as {STUDY_PART}."
            )
        if experimental:
            self._received.request = self._received.request.model_copy(update={"experimental": True})
        return self._received

    async def _body(self, request: Request) -> AsyncGenerator[bytes, None]:
        limit = self._settings.max_job_bytes + ENVELOPE_BYTES
        content_length(request.headers, limit)
        stream = request.stream()
        size, began_s = 0, time.monotonic()
        while (chunk := await self._next(stream)) is not None:
            size += len(chunk)
            self._check_rate(size, time.monotonic() - began_s)
            if size > limit:
                raise too_large(limit)
            if chunk:
                yield chunk

    async def _next(self, stream: AsyncGenerator[bytes, None]) -> bytes | None:
        # The store reads from a task of its own, which a timeout around the whole would leave behind.
        left_s, idle_s = self._deadline.remaining_s, self._settings.upload_idle_s
        try:
            async with asyncio.timeout(min(left_s, idle_s)):
                return await anext(stream, None)
        except TimeoutError:
            if left_s <= idle_s:
                raise deadline_exceeded() from None
            raise UploadStalled(f"Nothing of the body came for {idle_s:g} seconds.") from None

    def _check_rate(self, size: int, seconds: float) -> None:
        least = self._settings.upload_least_rate
        if size < least * (seconds - self._settings.upload_idle_s):
            raise UploadStalled(f"The body comes more slowly than {least} bytes a second.")

    async def _take(self, part: StreamedPart) -> None:
        if part.name == REQUEST_PART:
            self._received.request = await self._description(part)
            self._check()
            return
        names = {file.name for file in self._received.inputs}
        if names and (part.name == STUDY_PART or STUDY_PART in names):
            detail = f"Send either sequences or one part {STUDY_PART}, not both."
            raise InvalidRequest(detail, errors=[FieldError(f"part/{part.name}", detail)])
        self._check(part.name)
        self._received.inputs.append(await self._keep(part))

    def _check(self, *coming: str) -> None:
        """Hold what is asked for against what has come, and what is ``coming`` now."""
        parts = [*(file.name for file in self._received.inputs), *coming]
        check_wishes(self._received.request, parts, self._models, self._settings.job_types)

    async def _keep(self, part: StreamedPart) -> StoredFile:
        head: Head = ZipHead(part.name) if part.name == STUDY_PART else NiftiHead(part.name)
        name = input_name(self._job_id, part.name)
        judged = _judged(part, head, self._settings.max_volume_bytes)
        if self._store is None:
            size, sha256 = await _hashed(judged)
        else:
            blob = await self._store.put(name, judged)
            size, sha256 = blob.size, blob.sha256
        return StoredFile(name=part.name, media_type=head.media_type, size=size, sha256=sha256, blob=name)

    async def _description(self, part: StreamedPart) -> JobRequest:
        request = await read_job_request(part)
        self._caller.check_priority(request.priority)
        return request


def _boundary(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if content_type.partition(";")[0].strip().lower() != MULTIPART or encoding not in ("identity", ""):
        raise UnsupportedMediaType(
            f"Volumes come as {MULTIPART}, without a Content-Encoding; .nii.gz files as they are.",
            headers={"Accept-Post": MULTIPART, "Accept-Encoding": "identity"},
        )
    return boundary_of(content_type)


async def _judged(part: StreamedPart, head: Head, max_bytes: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in part.chunks:
        size += len(chunk)
        check_part_size(part.name, size, max_bytes)
        if ready := head.feed(chunk):
            yield ready
    if rest := head.close():
        yield rest


async def _hashed(chunks: AsyncIterator[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    async for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
    return size, digest.hexdigest()
