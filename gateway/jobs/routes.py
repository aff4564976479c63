"""The volumes routes: jobs are submitted, watched, cancelled, fetched and deleted here."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from core.blobs.retention import job_prefix
from core.contracts.base import Contract
from core.contracts.jobs import JobList, JobRecord, ResultList
from core.contracts.operations.jobs import (
    CANCEL_JOB,
    DELETE_JOB,
    FOLLOW_JOB,
    LIST_JOBS,
    LIST_RESULTS,
    READ_JOB,
    READ_REPORT,
    READ_RESULT,
    SUBMIT_JOB,
)
from core.contracts.service import ModelSummary
from core.errors import (
    FalxError,
    IdempotencyConflict,
    IdempotencyKeyReuse,
    NotFound,
    QueueFull,
    QueueUnavailable,
    QuotaExceeded,
    UploadsBusy,
)
from core.http.draining import Drain
from core.http.requests import (
    ClientGone,
    Deadline,
    cancel_on_disconnect,
    deadline_exceeded,
    request_id_of,
)
from core.jobs.idempotency import Intake
from core.jobs.queue import Submission, new_job_id
from gateway.audit import JOB
from gateway.auth import Principal
from gateway.forward import Policy, checked_query, client_address
from gateway.jobs.backend import JobBackend
from gateway.jobs.events import drained, event_stream
from gateway.jobs.headers import ListQuery, idempotency_key, wait_preference
from gateway.jobs.intake import Received, Receiver
from gateway.jobs.results import download
from gateway.keys import Scope
from gateway.settings import GatewaySettings

_ID_DIGITS: Final = frozenset("0123456789abcdef")
_ID_LENGTH: Final = 32
# The answer itself has to arrive before the caller's deadline, too.
_ANSWER_MARGIN_S: Final = 0.2
# Clean refusals: nothing has been accepted, so what was stored may go at once.
_REFUSALS: Final = (QueueFull, QuotaExceeded, IdempotencyConflict, IdempotencyKeyReuse)


class JobRoutes:
    """One method an operation. A job is its owner's alone: to everybody else it does not exist."""

    def __init__(self, settings: GatewaySettings, policy: Policy, backend: JobBackend, drain: Drain) -> None:
        self._settings = settings
        self._policy = policy
        self._backend = backend
        self._drain = drain
        self._uploads = asyncio.Semaphore(settings.max_uploads)

    def add_to(self, app: FastAPI) -> None:
        """Serve the routes."""
        for operation, endpoint in (
            (SUBMIT_JOB, self.submit),
            (LIST_JOBS, self.page),
            (READ_JOB, self.read),
            (DELETE_JOB, self.delete),
            (CANCEL_JOB, self.cancel),
            (FOLLOW_JOB, self.events),
            (LIST_RESULTS, self.results),
            (READ_REPORT, self.report),
            (READ_RESULT, self.result),
        ):
            methods = [operation.method, *(["HEAD"] if "HEAD" in operation.also else [])]
            app.add_api_route(operation.path, endpoint, methods=methods, include_in_schema=False)

    async def submit(self, request: Request) -> Response:
        """Take the volumes in and answer with their job: 202, or 200 if it ends while the caller prefers to wait."""
        caller = self._caller(request, known=SUBMIT_JOB.query)
        if self._policy.rate_limit is not None:
            self._policy.rate_limit.hit(caller.name)
        wait_s = wait_preference(request.headers)
        key = idempotency_key(request.headers)
        deadline = self._deadline(request)
        async with self._turn(deadline):
            try:
                submission = await self._take_in(request, caller, key, deadline)
            except ClientDisconnect:
                raise ClientGone from None
        record = submission.record
        request.scope["state"][JOB] = record.id
        applied = {}
        if wait_s is not None:
            applied["Preference-Applied"] = f"wait={wait_s}"
            record = await self._wait(request, record, min(wait_s, deadline.remaining_s - _ANSWER_MARGIN_S))
            if record.terminal:
                return _json(record.public(), headers=applied)
        return await self._accepted(record, applied)

    def _deadline(self, request: Request) -> Deadline:
        """The caller's, but never beyond the longest upload: the sweep relies on it."""
        asked = Deadline.of(request, self._settings.upload_timeout_s)
        longest = Deadline.after(self._settings.upload_timeout_s)
        return asked if asked.expires_at_s <= longest.expires_at_s else longest

    @asynccontextmanager
    async def _turn(self, deadline: Deadline) -> AsyncIterator[None]:
        """One of the uploads that are taken in at once.

        Raises ``UploadsBusy``, or ``DeadlineExceeded``, where none becomes free in time.
        """
        left_s, wait_s = deadline.remaining_s, self._settings.upload_wait_s
        try:
            async with asyncio.timeout(min(left_s, wait_s)):
                await self._uploads.acquire()
        except TimeoutError:
            if left_s <= wait_s:
                raise deadline_exceeded() from None
            raise UploadsBusy(
                f"{self._settings.max_uploads} jobs are being uploaded, as many as are taken in at once.",
                retry_after_s=wait_s,
            ) from None
        try:
            yield
        finally:
            self._uploads.release()

    async def _take_in(self, request: Request, caller: Principal, key: str | None, deadline: Deadline) -> Submission:
        queue = self._backend.queue
        scoped = None if key is None else f"{caller.owner or ''}:{key}"
        job_id = new_job_id()
        async with queue.taking_in(scoped) as intake:
            if intake.known is not None:
                received = await Receiver(self._settings, None, job_id, deadline, caller).receive(request)
                return await queue.submit(received.request, received.inputs, intake=intake, digest=received.digest)
            await queue.ensure_room(caller.owner, caller.quota)
            received = await self._receive(request, job_id, deadline, caller, await self._backend.models())
            return await self._submit(request, caller, job_id, received, intake)

    async def _receive(
        self, request: Request, job_id: str, deadline: Deadline, caller: Principal, models: Sequence[ModelSummary]
    ) -> Received:
        try:
            return await Receiver(self._settings, self._backend.store, job_id, deadline, caller, models).receive(
                request
            )
        except BaseException:
            await self._backend.erase(job_id, job_prefix(job_id))
            raise

    async def _submit(
        self, request: Request, caller: Principal, job_id: str, received: Received, intake: Intake
    ) -> Submission:
        try:
            return await self._backend.queue.submit(
                received.request,
                received.inputs,
                job_id=job_id,
                intake=intake,
                digest=received.digest,
                owner=caller.owner,
                quota=caller.quota,
                request_id=request_id_of(request),
            )
        except _REFUSALS:
            # After anything else the job may have been accepted all the same: then only the sweep can tell.
            await self._backend.erase(job_id, job_prefix(job_id))
            raise

    async def _wait(self, request: Request, record: JobRecord, limit_s: float) -> JobRecord:
        """The job when it has ended, ``limit_s`` has passed, the process has to stop, or the queue has gone away."""
        limit_s = min(limit_s, self._policy.max_timeout_s)
        if record.terminal or limit_s <= 0:
            return record
        try:
            return await cancel_on_disconnect(request, self._ended(record, limit_s), Deadline.after(limit_s + 60))
        except QueueUnavailable:
            return record

    async def _ended(self, record: JobRecord, limit_s: float) -> JobRecord:
        waiting = asyncio.create_task(self._backend.queue.wait(record.id, limit_s))
        stop = asyncio.create_task(drained(self._drain))
        try:
            await asyncio.wait((waiting, stop), return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else record
        finally:
            waiting.cancel()
            stop.cancel()

    async def _accepted(self, record: JobRecord, headers: Mapping[str, str]) -> Response:
        """The job has been taken in, and that is said even if the queue goes away meanwhile."""
        position, end_s = None, None
        with contextlib.suppress(QueueUnavailable):
            position = await self._backend.queue.position(record)
            end_s = await self._backend.queue.expected_end_s(record)
        return _json(
            record.public(position),
            status=202,
            headers={
                **headers,
                "Location": f"/v1/jobs/{record.id}",
                "Retry-After": str(max(1, math.ceil(end_s or 1.0))),
            },
        )

    async def page(self, request: Request) -> Response:
        """The caller's jobs, newest first."""
        caller = self._caller(request, known=LIST_JOBS.query)
        query = ListQuery.of(request.query_params)
        queue = self._backend.queue
        records, total = await queue.page(query.status, owner=caller.owner, limit=query.limit, offset=query.offset)
        positions = await queue.positions(records)
        jobs = tuple(record.public(position) for record, position in zip(records, positions, strict=True))
        link = query.next_link(len(jobs), total)
        return _json(JobList(jobs=jobs, total=total), headers={"Link": link} if link else {})

    async def read(self, request: Request, job_id: str) -> Response:
        """One job as it stands."""
        record = await self._job(request, job_id)
        return _json(record.public(await self._backend.queue.position(record)))

    async def cancel(self, request: Request, job_id: str) -> Response:
        """End a job that waits or runs."""
        await self._job(request, job_id)
        cancelled = await self._backend.queue.cancel(job_id)
        return _json(cancelled.public(), status=202)

    async def delete(self, request: Request, job_id: str) -> Response:
        """End the job and erase all of it. What its process writes until it is stopped, its worker erases."""
        await self._job(request, job_id)
        await self._backend.queue.delete(job_id)
        await self._backend.erase(job_id, job_prefix(job_id))
        return Response(status_code=204)

    async def events(self, request: Request, job_id: str) -> Response:
        """What happens to the job, from the beginning or after ``Last-Event-ID``."""
        record = await self._job(request, job_id)
        events = self._backend.queue.events(job_id, request.headers.get("last-event-id"))
        return await event_stream(events, self._drain, ended=record.terminal)

    async def results(self, request: Request, job_id: str) -> Response:
        """What there is to fetch."""
        job = (await self._job(request, job_id)).public()
        return _json(ResultList(job=job.id, status=job.status, results=job.results))

    async def report(self, request: Request, job_id: str) -> Response:
        """The result that is a report."""
        return await self.result(request, job_id, READ_REPORT.path.rpartition("/")[2])

    async def result(self, request: Request, job_id: str, name: str) -> Response:
        """One result."""
        record = await self._job(request, job_id)
        file = record.result(name)
        if file is None:
            raise NotFound("The job has no result of this name; its field results lists them.")
        return await download(request, self._backend.store, file)

    def _caller(self, request: Request, known: frozenset[str] = frozenset()) -> Principal:
        caller = self._policy.auth.require(
            request.headers, client_address(request.scope), Scope.JOBS, request.scope["state"]
        )
        checked_query(request.scope["query_string"], known)
        return caller

    async def _job(self, request: Request, job_id: str) -> JobRecord:
        """The caller's job of this id. Raises ``NotFound``, also for another caller's, and ``ResultExpired``."""
        caller = self._caller(request)
        queue = self._backend.queue
        if len(job_id) != _ID_LENGTH or not _ID_DIGITS.issuperset(job_id):
            raise _no_such_job()
        record = await queue.get(job_id)
        if caller.owner is not None and record.owner != caller.owner:
            raise _no_such_job()
        return record


def _no_such_job() -> FalxError:
    return NotFound("There is no job with this id.")


def _json(contract: Contract, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(contract.model_dump_json(), status, dict(headers or {}), media_type="application/json")
