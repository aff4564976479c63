"""What one request brings along: an id, a deadline, and a client who may hang up."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from core.errors import DeadlineExceeded, FieldError, InvalidRequest

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
MAX_TIMEOUT_MS = 600_000

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TIMEOUT_MS = re.compile(r"[0-9]{1,6}")

T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up. The shell ends the request quietly and counts it under status 499."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on ``time.monotonic()`` in seconds; work that has not begun by then is not begun."""

    expires_at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def of(cls, request: Request, default_s: float) -> Deadline:
        """From ``X-Request-Timeout-Ms`` (integer, 1 to 600000), else ``default_s``; counted from the request's arrival.

        Raises ``InvalidRequest`` for any other value of the header.
        """
        timeout_s = _timeout_s(request.headers.get(TIMEOUT_HEADER), default_s)
        arrived_s = request.scope.get("state", {}).get("arrived_s")
        return cls((time.monotonic() if arrived_s is None else arrived_s) + timeout_s)

    @property
    def remaining_s(self) -> float:
        """Seconds left; zero or below once it has passed."""
        return self.expires_at_s - time.monotonic()

    @property
    def remaining_ms(self) -> int:
        """Whole milliseconds left, at least 0: what to pass on in ``X-Request-Timeout-Ms``."""
        return max(0, int(self.remaining_s * 1000))

    def check(self) -> None:
        """Raise ``DeadlineExceeded`` once the deadline has passed."""
        if self.remaining_s <= 0:
            raise deadline_exceeded()


def deadline_exceeded() -> DeadlineExceeded:
    """The error of a passed deadline, with advice."""
    return DeadlineExceeded(
        f"The answer was not ready in time. Try again, or allow more time in {TIMEOUT_HEADER} (milliseconds)."
    )


def _timeout_s(header: str | None, default_s: float) -> float:
    if header is None:
        return default_s
    if _TIMEOUT_MS.fullmatch(header) and 1 <= int(header) <= MAX_TIMEOUT_MS:
        return int(header) / 1000
    detail = f"{TIMEOUT_HEADER} must be a whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}."
    raise InvalidRequest(detail, errors=[FieldError(f"header/{TIMEOUT_HEADER}", detail)])


def make_request_id(proposed: str | None) -> str:
    """``proposed`` when it is 1 to 128 characters of ``[A-Za-z0-9._-]``, else a new one (uuid4, hexadecimal)."""
    if proposed is not None and _REQUEST_ID.fullmatch(proposed):
        return proposed
    return uuid.uuid4().hex


def request_id_of(request: Request) -> str:
    """The id that the shell gave this request."""
    request_id = request.scope["state"]["request_id"]
    assert isinstance(request_id, str)  # noqa: S101
    return request_id


async def cancel_on_disconnect(request: Request, work: Coroutine[object, object, T], deadline: Deadline) -> T:
    """Run ``work`` until it ends, the client hangs up, or the deadline passes. Call it once the body has been read.

    ``work`` is cancelled in the last two cases, which lets a batcher drop what has not run yet; then ``ClientGone`` or
    ``DeadlineExceeded`` is raised. Past its deadline, ``work`` is not even begun.
    """
    if deadline.remaining_s <= 0:
        work.close()
        raise deadline_exceeded()
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request.receive))
    try:
        await asyncio.wait((task, watch), timeout=deadline.remaining_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        gone = watch.done()
        await _cancel(task)
    finally:
        watch.cancel()
        task.cancel()
    if gone:
        raise ClientGone
    raise deadline_exceeded()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Task[T]) -> None:
    """Cancel and wait, so that what ``task`` holds is given back before the request ends; its outcome is moot."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # retrieved: nobody else will, and asyncio would log it
