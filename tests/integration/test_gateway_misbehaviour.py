"""What the gateway makes of a model server that misbehaves, and when it tries again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.servers import Server
from tests.support.gateway import MIB, Exchange, Pair, Script, ScriptedUpstream, patient_pair, post


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with patient_pair() as both:
        yield both


@pytest.fixture
def gateway(pair: Pair) -> Server:
    return pair[0]


@pytest.fixture
def upstream(pair: Pair) -> ScriptedUpstream:
    pair[1].reset()
    return pair[1]


class TestMisbehaviour:
    @pytest.mark.parametrize(
        "raw",
        [
            b"\x00\x01 this is not HTTP\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 500 Oops\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{",
        ],
        ids=["noise", "page", "no type", "redirect", "html refusal", "failure", "plain failure", "cut short"],
    )
    def test_nonsense_becomes_502(self, gateway: Server, upstream: ScriptedUpstream, raw: bytes) -> None:
        def misbehave(exchange: Exchange) -> None:
            exchange.body()
            exchange.raw(raw)
            if raw.endswith(b"{"):
                exchange.hang_up()

        upstream.script = misbehave
        reply = post(gateway)
        assert (reply.status, reply.json()["code"]) == (502, "upstream-error")
        assert len(upstream.seen) == 1

    def test_balancer_without_replicas(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        upstream.script = lambda exchange: exchange.answer(503, b"<html>no server is available</html>", "text/html")
        reply = post(gateway)
        assert (reply.status, reply.json()["code"]) == (503, "model-unavailable")
        assert reply.headers["retry-after"] == "1"

    def test_balancer_that_waited_too_long(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        upstream.script = lambda exchange: exchange.answer(504, b"<html>too slow</html>", "text/html")
        assert post(gateway).json()["code"] == "deadline-exceeded"


def hanging_up(times: int) -> tuple[list[bytes], Script]:
    """A script that takes the body and hangs up without a byte, so many times; then it answers."""
    bodies: list[bytes] = []

    def script(exchange: Exchange) -> None:
        bodies.append(exchange.body())
        if len(bodies) <= times:
            exchange.hang_up()
        else:
            exchange.answer()

    return bodies, script


class TestTriesAgain:
    def test_once_after_a_broken_connection(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        bodies, upstream.script = hanging_up(1)
        assert post(gateway, b"pixels").status == 200
        assert bodies == [b"pixels", b"pixels"]

    def test_not_for_ever(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        bodies, upstream.script = hanging_up(100)
        reply = post(gateway)
        assert (reply.status, reply.json()["code"]) == (503, "model-unavailable")
        assert int(reply.headers["retry-after"]) >= 1
        assert len(bodies) == 2, "what kills one replica must not be sent round them all"

    def test_not_with_a_streamed_body(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        bodies, upstream.script = hanging_up(1)
        assert post(gateway, bytes(MIB + 1)).status == 503
        assert len(bodies) == 1

    def test_once_when_turned_away(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        def drain_first(exchange: Exchange) -> None:
            if len(upstream.seen) == 1:
                exchange.problem(503, "not-ready", {"Retry-After": "1", "Connection": "close"})
            else:
                exchange.answer()

        upstream.script = drain_first
        assert post(gateway).status == 200
        first, second = upstream.seen
        assert first.connection is not second.connection, "the same connection leads to the same replica"

    def test_second_turning_away_is_passed_on(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        upstream.script = lambda exchange: exchange.problem(503, "not-ready", {"Retry-After": "9"})
        reply = post(gateway)
        assert (reply.status, reply.json()["code"], reply.headers["retry-after"]) == (503, "not-ready", "9")
        assert len(upstream.seen) == 2

    @pytest.mark.parametrize(
        ("status", "code"), [(400, "invalid-image"), (429, "queue-full"), (504, "deadline-exceeded")]
    )
    def test_never_after_an_answer(self, gateway: Server, upstream: ScriptedUpstream, status: int, code: str) -> None:
        upstream.script = lambda exchange: exchange.problem(status, code)
        assert post(gateway).json()["code"] == code
        assert len(upstream.seen) == 1
