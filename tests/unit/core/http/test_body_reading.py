"""How bodies are read: within limits, within time, cut anywhere, and by clients who hang up."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import pairwise

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from core.errors import DeadlineExceeded, InputTooLarge, InvalidRequest, UnsupportedMediaType
from core.http.bodies import Upload, read_images
from core.http.multipart import MultipartReader
from core.http.requests import ClientGone, Deadline
from core.http.shell import metrics_of
from tests.fixtures.bodies import (
    BOUNDARY,
    END,
    MAX_BYTES,
    MULTIPART,
    PIXELS,
    SEQUENCES,
    SLICE,
    Limits,
    images,
    make_app,
    part,
    post,
)
from tests.fixtures.servers import serving


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return make_app()


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with serving(app) as base_url:
        yield base_url


def connection_to(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_an_announced_body_is_refused_before_it_is_sent(url: str) -> None:
    with connection_to(url) as connection:
        connection.sendall(
            b"POST /v1/slice HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99999999999\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_refused_once_it_is_too_large(url: str) -> None:
    with connection_to(url) as connection:
        connection.sendall(
            b"POST /v1/slice HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(3):
            connection.sendall(b"190\r\n" + b"x" * 400 + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@given(
    parts=st.dictionaries(st.sampled_from(SEQUENCES[1:]), st.binary(min_size=1, max_size=300), min_size=1),
    cuts=st.lists(st.integers(min_value=0, max_value=1500), max_size=20),
)
def test_multipart_does_not_depend_on_how_the_network_cuts_it(parts: dict[str, bytes], cuts: list[int]) -> None:
    body = b"".join(part(name, data) for name, data in parts.items()) + END
    reader = MultipartReader(BOUNDARY.encode(), SEQUENCES, MAX_BYTES)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for start, end in pairwise(edges):
        reader.feed(body[start:end])
    assert {found.name: bytes(found.data) for found in reader.close()} == parts


def request_of(chunks: AsyncIterator[bytes], content_type: str) -> Request:
    async def receive() -> Message:
        try:
            return {"type": "http.request", "body": await anext(chunks), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode())]}
    return Request(scope, receive)


@pytest.mark.parametrize(
    ("content_type", "prefix", "most"),
    [
        ("image/png", b"", 1_000_000),
        (MULTIPART, part("t1")[:-2], 1_000_000),
        ("application/json", b'{"image": "', 4 * 1_400_000),
    ],
)
async def test_no_more_than_the_limit_is_ever_taken_from_the_network(
    content_type: str, prefix: bytes, most: int
) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield prefix
        while True:
            taken += 65_536
            yield b"A" * 65_536

    with pytest.raises(InputTooLarge):
        await read_images(request_of(endless(), content_type), Limits(1_000_000), SEQUENCES)
    assert taken <= most + 3 * 65_536


async def test_a_hang_up_in_mid_body_is_client_gone() -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"some"

    with pytest.raises(ClientGone):
        await read_images(request_of(cut(), "image/png"), Limits(), SLICE)


async def test_a_body_that_does_not_end_in_time_is_a_passed_deadline() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(30)

    started_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await read_images(request_of(slow(), "image/png"), Limits(), SLICE, Deadline.after(0.1))
    assert time.monotonic() - started_s < 5


@given(
    body=st.binary(max_size=400),
    content_type=st.sampled_from([MULTIPART, "application/json", "image/png", "", "a;b=c"]),
)
async def test_any_bytes_are_an_upload_or_a_4xx(body: bytes, content_type: str) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode())]}
    with suppress(InvalidRequest, UnsupportedMediaType):
        found = await read_images(Request(scope, receive), Limits(), SEQUENCES)
        assert isinstance(found, dict)
        assert all(isinstance(upload, Upload) and upload.data for upload in found.values())


def hang_up(connection: socket.socket) -> None:
    """Close with a reset, as a killed client does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_clients_that_abort_in_mid_body_leave_no_trace_but_a_count(app: FastAPI, url: str) -> None:
    def gone() -> float:
        labels = {"route": "/v1/slice", "method": "POST", "status": "499"}
        return metrics_of(app).registry.get_sample_value("falx_requests_total", labels) or 0.0

    def failed() -> float:
        return metrics_of(app).registry.get_sample_value("falx_rejections_total", {"reason": "internal-error"}) or 0.0

    before = gone()
    bodies = (("image/png", PIXELS), (MULTIPART, part("file")[:-60]), ("application/json", b'{"image": "QUJD'))
    for content_type, begun in bodies:
        head = f"POST /v1/slice HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: 900\r\n\r\n"
        for _ in range(8):
            connection = connection_to(url)
            connection.sendall(head.encode() + begun)
            time.sleep(0.01)
            hang_up(connection)
    end_s = time.monotonic() + 5
    while gone() < before + 24 and time.monotonic() < end_s:
        time.sleep(0.02)
    assert gone() == before + 24
    assert failed() == 0
    assert images(post(url, PIXELS, "image/png"))["file"][0] == PIXELS
