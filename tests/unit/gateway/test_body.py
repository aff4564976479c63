"""How much of a body is held, what may be sent again, and where it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message

from core.errors import InputTooLarge, InvalidRequest
from core.http.requests import ClientGone
from gateway.body import CHUNKS_AHEAD, BodyCopy, BodyLimits, RequestBody, feed

LIMITS = BodyLimits(max_bytes=100, replay_bytes=10)


class Client:
    """Sends the given chunks, then keeps quiet until it hangs up."""

    def __init__(self, *chunks: bytes, complete: bool = True) -> None:
        self.gone = asyncio.Event()
        self.messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": not complete or index < len(chunks) - 1}
            for index, chunk in enumerate(chunks)
        ]
        if not complete:
            self.messages.append({"type": "http.disconnect"})

    async def __call__(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def read(payload: bytes | AsyncIterator[bytes]) -> bytes:
    return payload if isinstance(payload, bytes) else b"".join([chunk async for chunk in payload])


async def prepared(client: Client, **headers: str) -> RequestBody:
    body = RequestBody(client, {name.replace("_", "-"): value for name, value in headers.items()}, LIMITS)
    await body.prepare()
    return body


@pytest.mark.parametrize("chunks", [(b"",), (b"0123456789",), (b"01", b"", b"23456789")])
async def test_a_short_body_is_held_and_can_be_sent_twice(chunks: tuple[bytes, ...]) -> None:
    body = await prepared(Client(*chunks))
    assert body.replayable
    for _ in range(2):
        payload = body.payload()
        assert isinstance(payload, bytes)
        assert payload == b"".join(chunks)


async def test_a_long_body_is_streamed_once() -> None:
    client = Client(b"x" * 20, b"y" * 20)
    body = await prepared(client, content_length="40")
    assert len(client.messages) == 2, "nothing is read before the model server wants it"
    assert (body.untouched, body.replayable) == (True, False)
    assert await read(body.payload()) == b"x" * 20 + b"y" * 20
    assert (body.untouched, body.replayable) == (False, False)


async def test_a_long_body_of_unknown_length_loses_nothing() -> None:
    body = await prepared(Client(b"a" * 6, b"b" * 6, b"c" * 6))
    assert body.length is None
    assert not body.replayable
    assert await read(body.payload()) == b"a" * 6 + b"b" * 6 + b"c" * 6


async def test_a_declared_oversize_is_refused_at_once() -> None:
    with pytest.raises(InputTooLarge, match="limit of 100 bytes"):
        RequestBody(Client(b""), {"content-length": "101"}, LIMITS)


@pytest.mark.parametrize("length", ["ten", "-1", "1e3", "²", ""])
async def test_an_unsound_length_is_refused(length: str) -> None:
    with pytest.raises(InvalidRequest, match="Content-Length"):
        RequestBody(Client(b""), {"content-length": length}, LIMITS)


async def test_an_oversize_is_found_while_streaming() -> None:
    body = await prepared(Client(*[b"x" * 30] * 4))
    with pytest.raises(InputTooLarge):
        await read(body.payload())
    assert isinstance(body.failure, InputTooLarge), "the client's fault is not taken for the upstream's"


async def test_a_hang_up_while_holding() -> None:
    with pytest.raises(ClientGone):
        await prepared(Client(b"x", complete=False))


async def test_a_hang_up_while_streaming() -> None:
    body = await prepared(Client(b"x" * 30, complete=False), content_length="90")
    with pytest.raises(ClientGone):
        await read(body.payload())
    assert isinstance(body.failure, ClientGone)


async def test_a_hang_up_after_the_body_is_noticed() -> None:
    client = Client(b"x")
    body = await prepared(client)
    watch = asyncio.create_task(body.client_gone())
    await asyncio.sleep(0)
    assert not watch.done()
    client.gone.set()
    await asyncio.wait_for(watch, 1)


async def test_the_watch_leaves_an_unread_body_alone() -> None:
    client = Client(b"x" * 20, b"y" * 20)
    body = await prepared(client, content_length="40")
    watch = asyncio.create_task(body.client_gone())
    await asyncio.sleep(0)
    assert len(client.messages) == 2
    watch.cancel()


async def test_copies_of_a_streamed_body_are_the_body() -> None:
    sent = [bytes([index]) * 3 for index in range(3 * CHUNKS_AHEAD)]
    body = await prepared(Client(*sent), content_length=str(3 * len(sent)))
    first, second = BodyCopy(), BodyCopy()
    feeding = asyncio.create_task(feed(body, (first, second)))
    assert (first.replayable, first.untouched) == (False, True)
    received = await asyncio.gather(read(first.payload()), read(second.payload()))
    assert list(received) == [b"".join(sent)] * 2
    await feeding
    assert (first.untouched, second.untouched) == (False, False)


async def test_a_fast_reader_of_a_copy_waits_for_a_slow_one() -> None:
    """Else the gateway would hold all of a large body."""
    client = Client(*[b"x"] * 4 * CHUNKS_AHEAD)
    body = await prepared(client, content_length=str(4 * CHUNKS_AHEAD))
    fast, slow = BodyCopy(), BodyCopy()
    feeding = asyncio.create_task(feed(body, (fast, slow)))
    reading = asyncio.create_task(read(fast.payload()))
    for _ in range(20 * CHUNKS_AHEAD):
        await asyncio.sleep(0)
    assert not reading.done()
    assert len(client.messages) >= 2 * CHUNKS_AHEAD
    assert await read(slow.payload()) == b"x" * 4 * CHUNKS_AHEAD
    assert await reading == b"x" * 4 * CHUNKS_AHEAD
    await feeding


async def test_an_oversize_ends_the_feeding_of_copies() -> None:
    body = await prepared(Client(*[b"x" * 30] * 4))
    copies = (BodyCopy(), BodyCopy())
    with pytest.raises(InputTooLarge):
        await feed(body, copies)
