"""Deadlines, request ids, and clients who hang up."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from core.contracts.service import Readiness
from core.errors import DeadlineExceeded, InvalidRequest, NotMr
from core.http.requests import ClientGone, Deadline, cancel_on_disconnect, make_request_id, request_id_of
from core.http.shell import create_shell, metrics_of
from tests.fixtures.servers import request, serving


def request_with(
    timeout: str | None = None, arrived_s: float | None = None, gone: asyncio.Event | None = None
) -> Request:
    """A request whose client hangs up when ``gone`` is set."""

    async def receive() -> Message:
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    headers = [] if timeout is None else [(b"x-request-timeout-ms", timeout.encode())]
    state = {} if arrived_s is None else {"arrived_s": arrived_s}
    return Request({"type": "http", "method": "POST", "headers": headers, "state": state}, receive)


# --- deadlines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("header", "seconds"), [("1", 0.001), ("2500", 2.5), ("600000", 600.0), ("000100", 0.1)])
def test_the_header_is_milliseconds_from_the_requests_arrival(header: str, seconds: float) -> None:
    assert Deadline.of(request_with(header, arrived_s=1000.0), 60.0).expires_at_s == pytest.approx(1000.0 + seconds)


def test_without_the_header_the_default_holds() -> None:
    assert Deadline.of(request_with(arrived_s=1000.0), 60.0).expires_at_s == 1060.0
    assert Deadline.of(request_with(), 60.0).remaining_s == pytest.approx(60.0, abs=1.0)


@pytest.mark.parametrize("header", ["0", "-1", "600001", "1.5", "1e3", "", " ", "abc", "1000ms", "9" * 30, "١٢"])
def test_any_other_header_is_refused(header: str) -> None:
    scope = {"type": "http", "headers": [(b"x-request-timeout-ms", header.encode())]}
    with pytest.raises(InvalidRequest) as caught:
        Deadline.of(Request(scope), 60.0)
    assert caught.value.errors[0].pointer == "header/X-Request-Timeout-Ms"


def test_a_passed_deadline_says_so() -> None:
    passed = Deadline.after(-0.5)
    assert passed.remaining_s < 0
    assert passed.remaining_ms == 0
    with pytest.raises(DeadlineExceeded):
        passed.check()
    later = Deadline.after(10)
    assert 9000 < later.remaining_ms <= 10_000
    later.check()


# --- ids ----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=200))
def test_an_id_is_either_harmless_or_new(proposed: str) -> None:
    made = make_request_id(proposed)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", made)
    assert made == proposed or re.fullmatch(r"[0-9a-f]{32}", made)


def test_new_ids_differ() -> None:
    assert len({make_request_id(None) for _ in range(100)}) == 100


# --- racing the client and the clock ------------------------------------------------------------------------------


class Work:
    """Something that takes ``seconds``; remembers how far it came."""

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self.begun = self.cancelled = False

    async def __call__(self) -> str:
        self.begun = True
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"


async def test_finished_work_is_returned_and_nothing_is_left_running() -> None:
    assert await cancel_on_disconnect(request_with(), Work(0.01)(), Deadline.after(5)) == "done"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_of_the_work_is_raised() -> None:
    async def fail() -> None:
        raise NotMr("CT.")

    with pytest.raises(NotMr):
        await cancel_on_disconnect(request_with(), fail(), Deadline.after(5))


async def test_a_hang_up_cancels_the_work_before_it_ends_the_request() -> None:
    gone, work = asyncio.Event(), Work()
    asyncio.get_running_loop().call_later(0.05, gone.set)
    with pytest.raises(ClientGone):
        await cancel_on_disconnect(request_with(gone=gone), work(), Deadline.after(5))
    assert work.cancelled


async def test_a_deadline_cancels_the_work() -> None:
    work = Work()
    with pytest.raises(DeadlineExceeded):
        await cancel_on_disconnect(request_with(), work(), Deadline.after(0.05))
    assert work.cancelled


async def test_past_its_deadline_the_work_is_not_even_begun() -> None:
    work = Work()
    with pytest.raises(DeadlineExceeded):
        await cancel_on_disconnect(request_with(), work(), Deadline.after(-1))
    assert not work.begun


async def test_work_that_answers_its_cancellation_with_an_error_is_quiet() -> None:
    """An error that nobody waits for must not reach asyncio's handler, which would log it."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    async def stubborn() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            raise ValueError("while cleaning up")

    with pytest.raises(DeadlineExceeded):
        await cancel_on_disconnect(request_with(), stubborn(), Deadline.after(0.05))
    await asyncio.sleep(0)
    assert complaints == []


async def test_a_cancelled_request_cancels_its_work() -> None:
    work = Work()
    task = asyncio.create_task(cancel_on_disconnect(request_with(), work(), Deadline.after(5)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert work.cancelled


# --- over a real connection ---------------------------------------------------------------------------------------


@pytest.fixture
def slow_app() -> tuple[FastAPI, Work]:
    work = Work()
    app = create_shell("test", readiness=lambda: Readiness(ready=True))

    @app.post("/v1/slow")
    async def slow(request: Request) -> dict[str, str]:
        deadline = Deadline.of(request, 20.0)
        await request.body()
        await cancel_on_disconnect(request, work(), deadline)
        return {"request_id": request_id_of(request)}

    return app, work


@pytest.fixture
def url(slow_app: tuple[FastAPI, Work]) -> Iterator[str]:
    with serving(slow_app[0]) as base_url:
        yield base_url


def count(app: FastAPI, status: str) -> float:
    labels = {"route": "/v1/slow", "method": "POST", "status": status}
    return metrics_of(app).registry.get_sample_value("falx_requests_total", labels) or 0.0


def wait_for(app: FastAPI, status: str, number: float) -> None:
    end_s = time.monotonic() + 5
    while count(app, status) < number and time.monotonic() < end_s:
        time.sleep(0.01)
    assert count(app, status) == number


def test_a_client_who_hangs_up_is_counted_and_its_work_cancelled(slow_app: tuple[FastAPI, Work], url: str) -> None:
    app, work = slow_app
    host, port = url.removeprefix("http://").split(":")
    for number in range(1, 4):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(b"POST /v1/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
        # Who ends the stream together with the request is done with sending, and waits for its answer.
        time.sleep(0.1)
        if number == 1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        wait_for(app, "499", number)
    assert work.cancelled
    assert count(app, "500") == 0


def test_a_passed_deadline_is_504(slow_app: tuple[FastAPI, Work], url: str) -> None:
    reply = request(url, "POST", "/v1/slow", b"x", {"X-Request-Timeout-Ms": "100"})
    assert (reply.status, reply.json()["code"], reply.json()["retryable"]) == (504, "deadline-exceeded", True)
    assert slow_app[1].cancelled


def test_the_id_in_the_body_is_the_one_in_the_header(slow_app: tuple[FastAPI, Work], url: str) -> None:
    slow_app[1].seconds = 0.0
    reply = request(url, "POST", "/v1/slow", b"x", {"X-Request-ID": "abc"})
    assert reply.json() == {"request_id": "abc"}
    assert reply.headers["x-request-id"] == "abc"


def test_a_wrong_deadline_is_400(url: str) -> None:
    reply = request(url, "POST", "/v1/slow", b"x", {"X-Request-Timeout-Ms": "soon"})
    assert (reply.status, reply.json()["errors"][0]["pointer"]) == (400, "header/X-Request-Timeout-Ms")
