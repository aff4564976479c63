"""What the gateway passes on and what it keeps back, deadlines, and callers that hang up."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.fixtures.servers import Server
from tests.support.gateway import (
    ANSWER,
    JSON,
    MAX_BODY,
    MIB,
    PATH,
    Exchange,
    Pair,
    ScriptedUpstream,
    echo,
    patient_pair,
    post,
)


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


def chunked(gateway: Server, sizes: list[int]) -> bytes:
    """The head of the answer to an upload without Content-Length."""
    with gateway.connect() as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n" % PATH.encode())
        connection.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for size in sizes:
                connection.sendall(b"%x\r\n%s\r\n" % (size, b"x" * size))
            connection.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass  # refused in the middle
        return read_answer(connection)


def read_answer(connection: socket.socket) -> bytes:
    """Head and body of one answer with a Content-Length."""
    data = b""
    head = None
    while head is None or len(data) < head.end() + int(head[1]):
        chunk = connection.recv(65536)
        assert chunk, data
        data += chunk
        head = re.match(rb"(?s).*?content-length: (\d+).*?\r\n\r\n", data)
    return data


class TestPassesOn:
    def test_answer_is_unchanged(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        upstream.script = lambda exchange: exchange.answer(headers={"X-Falx-Note": "kept", "Content-Language": "en"})
        reply = post(gateway)
        assert (reply.status, reply.body) == (200, ANSWER)
        assert reply.headers["content-type"] == JSON
        assert reply.headers["x-falx-note"] == "kept"
        assert reply.headers["content-language"] == "en"
        assert reply.headers["cache-control"] == "no-store"

    def test_refusal_is_unchanged(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        upstream.script = lambda exchange: exchange.problem(429, "queue-full", {"Retry-After": "7"})
        reply = post(gateway)
        assert (reply.status, reply.json()["code"], reply.headers["retry-after"]) == (429, "queue-full", "7")
        assert len(upstream.seen) == 1, "a full queue is no reason to try again"

    @pytest.mark.parametrize(
        ("public", "target"),
        [
            ("/v1/classifications", "/v1/classifications"),
            ("/v1/segmentations", "/v1/segmentations"),
            ("/predict_classification", "/v1/classifications"),
            ("/predict_segmentation", "/v1/segmentations"),
        ],
    )
    def test_routes_and_aliases(self, gateway: Server, upstream: ScriptedUpstream, public: str, target: str) -> None:
        assert post(gateway, path=public + "?model=a%40b%2F1").status == 200
        assert upstream.seen[0].method == "POST"
        assert upstream.seen[0].target == target + "?model=a%40b%2F1"

    @pytest.mark.parametrize("size", [0, 1, 70_000, MIB, MIB + 1, 5 * MIB])
    def test_body_is_untouched(self, gateway: Server, upstream: ScriptedUpstream, size: int) -> None:
        sent = os.urandom(size)
        received = []

        def keep(exchange: Exchange) -> None:
            received.append(exchange.body())
            exchange.answer()

        upstream.script = keep
        assert post(gateway, sent).status == 200
        assert received == [sent]
        assert upstream.seen[0].headers["content-length"] == str(size)

    @pytest.mark.parametrize("chunks", [[10], [70_000] * 40])
    def test_body_without_length(self, gateway: Server, upstream: ScriptedUpstream, chunks: list[int]) -> None:
        sizes = []

        def keep(exchange: Exchange) -> None:
            sizes.append(len(exchange.body()))
            exchange.answer()

        upstream.script = keep
        assert chunked(gateway, chunks).startswith(b"HTTP/1.1 200")
        assert sizes == [sum(chunks)]

    def test_headers_that_matter(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        post(
            gateway,
            Accept="application/json;q=0.5",
            traceparent="00-aa-bb-01",
            tracestate="v=1",
            X_Request_ID="my.id-7",
        )
        headers = upstream.seen[0].headers
        assert headers["accept"] == "application/json;q=0.5"
        assert headers["content-type"] == "image/png"
        assert (headers["traceparent"], headers["tracestate"]) == ("00-aa-bb-01", "v=1")
        assert headers["x-request-id"] == "my.id-7"

    def test_secrets_stay_here(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        post(gateway, Authorization="Bearer secret", X_API_Key="secret", Cookie="a=secret", X_Forwarded_For="10.0.0.1")
        assert not [value for value in upstream.seen[0].headers.values() if "secret" in value]
        assert upstream.seen[0].headers.keys() <= {
            "host",
            "content-type",
            "content-length",
            "x-request-id",
            "x-request-timeout-ms",
            "accept-encoding",
        } | {"connection"}

    def test_request_id_is_made_where_unsound(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        reply = post(gateway, X_Request_ID="not sound!")
        made = reply.headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
        assert upstream.seen[0].headers["x-request-id"] == made

    def test_answer_in_chunks(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        def drip(exchange: Exchange) -> None:
            exchange.body()
            exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            for part in (b'{"a"', b": 1}"):
                time.sleep(0.05)
                exchange.raw(b"%x\r\n%s\r\n" % (len(part), part))
            exchange.raw(b"0\r\n\r\n")

        upstream.script = drip
        assert post(gateway).body == b'{"a": 1}'

    def test_answer_before_the_body_is_read(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        def refuse(exchange: Exchange) -> None:
            exchange.body_read = True
            exchange.problem(413, "input-too-large", {"Connection": "close"})
            exchange.gone_within(5)

        upstream.script = refuse
        for _ in range(3):
            assert post(gateway, bytes(5 * MIB)).json()["code"] == "input-too-large"
        upstream.script = echo
        assert post(gateway).status == 200

    def test_large_answer_is_streamed(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        picture = os.urandom(20 * MIB)
        upstream.script = lambda exchange: exchange.answer(body=picture, media_type="image/png")
        reply = post(gateway, path="/v1/segmentations")
        assert reply.body == picture
        assert reply.headers["content-length"] == str(len(picture))

    def test_connection_is_kept(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        for _ in range(20):
            post(gateway)
        # A few, because the looks at /readyz and the requests take turns on them.
        assert len({id(exchange.connection) for exchange in upstream.seen}) <= 4


class TestRefuses:
    def test_unknown_parameter(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        reply = post(gateway, path=PATH + "?treshold=0.3")
        assert (reply.status, reply.json()["code"]) == (400, "invalid-request")
        assert "treshold" not in reply.body.decode()
        assert "known: explain, model" in reply.json()["detail"]
        assert not upstream.seen

    def test_repeated_parameter(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        reply = post(gateway, path=PATH + "?model=a&model=b")
        assert (reply.status, reply.json()["errors"][0]["pointer"]) == (400, "query/model")

    def test_declared_oversize(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        with gateway.connect() as connection:
            connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % PATH.encode())
            connection.sendall(b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1))
            answer = read_answer(connection)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"8388608 bytes (8 MiB)" in answer
        assert not upstream.seen

    def test_oversize_found_while_streaming(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        dropped = threading.Event()

        def read_on(exchange: Exchange) -> None:
            if exchange.gone_within(10):
                dropped.set()

        upstream.script = read_on
        assert chunked(gateway, [MIB] * 9).startswith(b"HTTP/1.1 413")
        assert dropped.wait(5), "the model server is left with half a body"
        assert len(upstream.seen) == 1

    def test_other_methods(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        reply = gateway.request("GET", PATH)
        assert (reply.status, reply.headers["allow"]) == (405, "POST")

    @pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", "600001"])
    def test_unsound_deadline(self, gateway: Server, upstream: ScriptedUpstream, value: str) -> None:
        reply = post(gateway, X_Request_Timeout_Ms=value)
        assert (reply.status, reply.json()["code"]) == (400, "invalid-request")
        assert not upstream.seen


class TestDeadline:
    def test_time_left_is_passed_on(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        post(gateway, X_Request_Timeout_Ms="5000")
        assert 4000 < int(upstream.seen[0].headers["x-request-timeout-ms"]) <= 5000

    def test_longest_and_usual_deadline(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        post(gateway, X_Request_Timeout_Ms="600000")
        post(gateway)
        longest, usual = (int(exchange.headers["x-request-timeout-ms"]) for exchange in upstream.seen)
        assert 290_000 < longest <= 300_000
        assert 55_000 < usual <= 60_000

    def test_passed_deadline(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        dropped = threading.Event()

        def hang(exchange: Exchange) -> None:
            exchange.body()
            if exchange.gone_within(10):
                dropped.set()

        upstream.script = hang
        started = time.monotonic()
        reply = post(gateway, X_Request_Timeout_Ms="300")
        assert (reply.status, reply.json()["code"], reply.json()["retryable"]) == (504, "deadline-exceeded", True)
        assert 0.25 < time.monotonic() - started < 2
        assert dropped.wait(2), "the model server goes on for nobody"
        assert len(upstream.seen) == 1, "a passed deadline is no reason to try again"


class TestHangUp:
    def test_client_that_hangs_up_is_dropped(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        arrived, dropped = threading.Event(), threading.Event()

        def hang(exchange: Exchange) -> None:
            exchange.body()
            arrived.set()
            if exchange.gone_within(10):
                dropped.set()

        upstream.script = hang
        with gateway.connect() as connection:
            connection.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx" % PATH.encode())
            assert arrived.wait(5)
            time.sleep(0.1)  # who ends the stream together with the request is done with sending, and waits
        assert dropped.wait(2)
        metrics = gateway.request("GET", "/metrics").body.decode()
        assert f'falx_requests_total{{method="POST",route="{PATH}",status="499"}} 1.0' in metrics

    def test_client_that_hangs_up_in_mid_upload(self, gateway: Server, upstream: ScriptedUpstream) -> None:
        dropped = threading.Event()

        def read_on(exchange: Exchange) -> None:
            if exchange.gone_within(10):
                dropped.set()

        upstream.script = read_on
        with gateway.connect() as connection:
            connection.sendall(
                b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n" % PATH.encode()
            )
            connection.sendall(b"x" * 2 * MIB)
            deadline = time.monotonic() + 5
            while not upstream.seen and time.monotonic() < deadline:
                time.sleep(0.01)
        assert dropped.wait(2)
        assert len(upstream.seen) == 1
