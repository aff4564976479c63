"""Several files of one call: a place in the queue for each, and one item of the answer for each, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response

from core.contracts.base import DISCLAIMER
from core.contracts.operations.batches import FILES
from core.contracts.operations.bodies import IMAGE_PART
from core.contracts.operations.operation import JSON
from core.errors import CapacityError, FalxError, RequestError
from core.http.bodies import File, Upload
from core.http.problems import internal_error, problem_of
from core.http.requests import Deadline, request_id_of
from core.http.shell import metrics_of
from core.serving.batcher import Batcher, Ticket
from core.serving.model_server import RowOutputs

logger = structlog.get_logger("falx.batches")

Work = Callable[[Mapping[str, Upload], Ticket[RowOutputs]], Awaitable[Response]]
"""Answers one slice, in JSON where it is one of several."""


async def answer_batch(
    request: Request,
    batcher: Batcher[RowOutputs],
    files: Sequence[File],
    work: Work,
    deadline: Deadline,
) -> Response:
    """``work`` on every file; what is wrong with one of them is told in its item.

    Places are taken for all or for none, so that a full queue refuses the whole call and not half of it. Raises what
    ``Batcher.admit`` raises, and a ``CapacityError`` of any file: the same call may succeed later.
    """
    request_id = request_id_of(request)

    async def answer(index: int, file: File) -> dict[str, Any]:
        try:
            if isinstance(file, RequestError):
                raise file
            with tickets[index] as ticket:
                answered = await work({IMAGE_PART: file}, ticket)
        except CapacityError:
            raise
        except RequestError as error:
            return _problem_item(request, index, error)
        except Exception:
            logger.exception("unexpected error", file=index)
            return _problem_item(request, index, internal_error())
        return {"index": index, "status": answered.status_code, "answer": orjson.Fragment(answered.body)}

    with ExitStack() as places:
        tickets = {
            index: places.enter_context(batcher.admit(deadline.expires_at_s))
            for index, file in enumerate(files)
            if isinstance(file, Upload)
        }
        items = await _all([answer(index, file) for index, file in enumerate(files)])
    body = orjson.dumps({"items": items, "request_id": request_id, "disclaimer": DISCLAIMER})
    return Response(body, headers={FILES: str(len(files))}, media_type=JSON)


async def _all(answers: Sequence[Coroutine[Any, Any, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The results of all, in their order; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer) for answer in answers]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _problem_item(request: Request, index: int, error: FalxError) -> dict[str, Any]:
    metrics_of(request.app).rejections.labels(error.code).inc()
    problem = problem_of(error, request_id_of(request)).model_dump(mode="json", exclude_none=True)
    return {"index": index, "status": error.status, "problem": problem}
