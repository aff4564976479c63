"""Bounds on the head of a request, over bare connections."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import Response

from core.contracts.service import Readiness
from core.http import http11
from core.http.settings import ServingSettings
from core.http.shell import create_shell
from tests.fixtures.servers import serving

MAX_HEADER_BYTES = 8192
HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = create_shell("test", readiness=lambda: Readiness(ready=True))

    @app.post("/size")
    async def size(request: Request) -> Response:
        return Response(str(len(await request.body())))

    @app.post("/slow")
    async def slow(request: Request) -> Response:
        await request.body()
        await asyncio.sleep(1.6)
        return Response("late")

    @app.post("/refuse")
    async def refuse() -> Response:
        return Response(status_code=413)

    with serving(app, ServingSettings(max_header_bytes=MAX_HEADER_BYTES, keep_alive_s=1)) as base_url:
        yield base_url


@pytest.fixture
def connection(url: str) -> Iterator[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as opened:
        yield opened


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the one answer to come."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return int(head.split()[1]), body


def keep_sending(connection: socket.socket, data: bytes, times: int, pause_s: float = 0.0) -> None:
    for _ in range(times):
        connection.sendall(data)
        time.sleep(pause_s)


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def assert_refused(connection: socket.socket) -> None:
    status, body = answer(connection)
    assert status == 431
    assert json.loads(body)["code"] == "invalid-request"
    assert str(MAX_HEADER_BYTES) in json.loads(body)["detail"]
    assert closed(connection)


def test_a_head_just_within_the_limit_is_taken(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"X: " + b"a" * (MAX_HEADER_BYTES - 100) + b"\r\n\r\n")
    assert answer(connection)[0] == 200


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""], ids=["complete", "unfinished"])
def test_one_huge_header_is_refused(connection: socket.socket, end: bytes) -> None:
    connection.sendall(HEAD + b"X: " + b"a" * (MAX_HEADER_BYTES + 1000) + end)
    assert_refused(connection)


def test_many_small_headers_are_refused(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"X: a\r\n" * 2000 + b"\r\n")
    assert_refused(connection)


def test_an_endless_url_is_refused(connection: socket.socket) -> None:
    connection.sendall(b"GET /" + b"a" * (MAX_HEADER_BYTES + 1000) + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert_refused(connection)


def test_a_head_that_trickles_is_refused_at_the_limit(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    for _ in range(10):
        connection.sendall(b"X: " + b"a" * 1000 + b"\r\n")
        time.sleep(0.01)
    assert_refused(connection)


def test_bodies_do_not_count(connection: socket.socket) -> None:
    body = b"x" * (10 * MAX_HEADER_BYTES)
    for _ in range(3):
        connection.sendall(b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert answer(connection) == (200, str(len(body)).encode())


def test_pipelined_requests_are_each_measured_alone(connection: socket.socket) -> None:
    one = HEAD + b"X: " + b"a" * 5000 + b"\r\n\r\n"
    connection.sendall(one * 4)
    received = b""
    while received.count(b"ok\n") < 4:
        received += connection.recv(65_536)
    assert received.count(b"HTTP/1.1 200") == 4


def test_what_is_not_http_gets_a_problem(connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x01\x02\x00DOE\r\n\r\n")
    status, body = answer(connection)
    assert (status, json.loads(body)["code"]) == (400, "invalid-request")
    assert closed(connection)


def test_a_silent_connection_is_closed(connection: socket.socket) -> None:
    started_s = time.monotonic()
    assert closed(connection)
    assert 0.8 < time.monotonic() - started_s < 4


def test_a_head_that_never_ends_is_closed_although_it_goes_on(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    started_s = time.monotonic()
    with pytest.raises(OSError, match=r"."):
        keep_sending(connection, b"X: a\r\n", times=50, pause_s=0.1)
    assert time.monotonic() - started_s < 4


def test_an_idle_connection_is_closed_after_the_keep_alive_time(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n")
    assert answer(connection)[0] == 200
    started_s = time.monotonic()
    assert closed(connection)
    assert 0.8 < time.monotonic() - started_s < 4


def test_a_slow_body_is_not_a_slow_head(connection: socket.socket) -> None:
    connection.sendall(b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
    for _ in range(3):
        time.sleep(0.6)
        connection.sendall(b"x")
    assert answer(connection) == (200, b"3")


def test_a_stray_line_end_does_not_cost_the_answer_that_is_due(connection: socket.socket) -> None:
    connection.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
    time.sleep(0.1)
    connection.sendall(b"\r\n")
    assert answer(connection) == (200, b"late")


def test_after_its_answer_a_client_may_send_on_but_not_without_end(
    connection: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http11, "_MAX_DISCARDED_BYTES", 1_000_000)
    connection.sendall(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
    assert answer(connection)[0] == 413
    connection.sendall(b"x" * 500_000)
    with pytest.raises(OSError, match=r"."):
        keep_sending(connection, b"x" * 65_536, times=200)


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
SIZE = b"POST /size HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "head and body apart"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_an_offer_to_upgrade_is_ignored(connection: socket.socket, apart: bool, chunked: bool) -> None:
    """RFC 9110, 7.8. Java's HttpClient, Spring and ``curl --http2`` offer h2c with every POST over plain HTTP."""
    head, body = (CHUNKED, b"5\r\nabcde\r\n0\r\n\r\n") if chunked else (b"Content-Length: 5\r\n\r\n", b"abcde")
    for _ in range(2):  # the connection goes on after it
        connection.sendall(SIZE + UPGRADE + head + (b"" if apart else body))
        if apart:
            time.sleep(0.1)
            connection.sendall(body)
        assert answer(connection) == (200, b"5")


def test_an_offer_to_upgrade_without_a_body_is_ignored(connection: socket.socket) -> None:
    for _ in range(2):
        connection.sendall(HEAD + UPGRADE + b"\r\n")
        assert answer(connection)[0] == 200


def test_a_client_that_is_done_with_sending_gets_its_answer(connection: socket.socket) -> None:
    connection.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde")
    connection.shutdown(socket.SHUT_WR)
    assert answer(connection) == (200, b"late")
    assert closed(connection)


def test_fields_after_the_last_chunk_are_dropped(connection: socket.socket) -> None:
    connection.sendall(SIZE + CHUNKED + b"5\r\nabcde\r\n0\r\nX-Late: 1\r\n\r\n")
    assert answer(connection) == (200, b"5")


@pytest.mark.parametrize(
    "beside", [b"0\r\nX-Late: " + b"a" * 256, b"1;" + b"a" * 256], ids=["fields", "extension of a chunk"]
)
def test_what_stands_beside_the_bytes_of_a_body_is_bounded(connection: socket.socket, beside: bytes) -> None:
    connection.sendall(SIZE + CHUNKED + b"5\r\nabcde\r\n" + beside)
    time.sleep(0.3)  # or what follows may come in the same read as the body, which is not counted
    keep_sending(connection, b"a" * 256, MAX_HEADER_BYTES // 256 + 1, 0.002)
    status, body = answer(connection)
    assert status == 431
    assert str(MAX_HEADER_BYTES) in json.loads(body)["detail"]


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n"], ids=["none", "two"])
def test_a_request_names_one_host(connection: socket.socket, hosts: bytes) -> None:
    """RFC 9112, 3.2."""
    connection.sendall(b"GET /livez HTTP/1.1\r\n" + hosts + b"\r\n")
    assert answer(connection)[0] == 400
    assert closed(connection)


def test_http_1_0_needs_no_host(connection: socket.socket) -> None:
    connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
    assert answer(connection)[0] == 200
