"""What happens to a job, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, Literal

import structlog
from starlette.responses import Response, StreamingResponse

from core.contracts.jobs import JobEvent
from core.contracts.operations.jobs import EVENT_STREAM
from core.errors import FalxError
from core.http.draining import Drain

log = structlog.get_logger(__name__)

# Milliseconds that a browser waits before it comes back.
_RETRY_MS: Final = 2_000
_DRAIN_POLL_S: Final = 0.25
_HEARTBEAT: Final = ": still here\n\n"
_END: Final = "end"


async def drained(drain: Drain) -> None:
    """Return once the process is told to stop."""
    while not drain.active:  # noqa: ASYNC110  thrown from signal handlers and threads, which may set no event
        await asyncio.sleep(_DRAIN_POLL_S)


async def event_stream(events: AsyncIterator[JobEvent | None], drain: Drain, *, ended: bool) -> Response:
    """The answer with ``events``; 204 where the job has ``ended`` and there is none left, so that browsers stop asking.

    The stream ends with the job, and early when the gateway stops or the queue goes away: a client then comes back
    with the last id that it saw.
    """
    first: JobEvent | None = None
    if ended:
        # All that there will ever be is there, so this does not wait.
        first = await anext(events, None)
        if first is None:
            return Response(status_code=204)
    headers = {"X-Accel-Buffering": "no", "Content-Type": EVENT_STREAM}
    return StreamingResponse(_lines(first, events, drain), headers=headers)


async def _lines(
    first: JobEvent | None, events: AsyncIterator[JobEvent | None], drain: Drain
) -> AsyncGenerator[str, None]:
    yield f"retry: {_RETRY_MS}\n\n"
    if first is not None:
        yield _line(first)
    async with aclosing(_until(events, drain)) as rest:
        async for event in rest:
            yield _HEARTBEAT if event is None else _line(event)


async def _until(events: AsyncIterator[JobEvent | None], drain: Drain) -> AsyncGenerator[JobEvent | None, None]:
    """``events`` until their end, the end of the queue, or that of the process."""
    stop = asyncio.create_task(drained(drain))
    try:
        while True:
            following = asyncio.create_task(_next(events))
            try:
                await asyncio.wait((following, stop), return_when=asyncio.FIRST_COMPLETED)
            finally:
                following.cancel()
            if not following.done():
                return
            event = following.result()
            if event == _END:
                return
            yield event
    finally:
        stop.cancel()


async def _next(events: AsyncIterator[JobEvent | None]) -> JobEvent | Literal["end"] | None:
    try:
        return await anext(events, _END)
    except FalxError as error:
        log.warning("events broken off", code=error.code)
        return _END


def _line(event: JobEvent) -> str:
    return f"id: {event.id}\nevent: {event.event}\ndata: {event.data}\n\n"
