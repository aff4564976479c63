"""The body of a request on its way to a model server: counted, never looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Receive

from core.errors import FalxError, InputTooLarge, InvalidRequest
from core.http.requests import ClientGone

# How far one reader of a body may be ahead of another; the server hands on chunks of up to 64 KiB.
CHUNKS_AHEAD = 8


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bodies above ``max_bytes`` are refused; those up to ``replay_bytes`` are held, so that they can be sent again."""

    max_bytes: int
    replay_bytes: int


class Sendable(Protocol):
    """A body as the sender of a request sees it; see ``RequestBody``."""

    @property
    def replayable(self) -> bool: ...

    @property
    def untouched(self) -> bool: ...

    @property
    def failure(self) -> FalxError | ClientGone | None: ...

    def payload(self) -> bytes | AsyncIterator[bytes]: ...


class RequestBody:
    """Either held in memory and replayable, or streamed once.

    ``failure`` is why streaming stopped early, so that the fault of a client is not mistaken for one of the upstream.
    """

    def __init__(self, receive: Receive, headers: Mapping[str, str], limits: BodyLimits) -> None:
        self._receive = receive
        self._limits = limits
        self._held: list[bytes] = []
        self._size = 0
        self._complete = False
        self._streaming = False
        self.length = content_length(headers, limits.max_bytes)
        self.failure: FalxError | ClientGone | None = None
        self.received = asyncio.Event()

    async def prepare(self) -> None:
        """Read the body as far as it may be held; a longer one stays in the connection until the upstream wants it.

        Raises:
            InputTooLarge: the body is longer than the limit.
            ClientGone: the client hung up.
        """
        if self.length is not None and self.length > self._limits.replay_bytes:
            return
        while not self._complete and self._size <= self._limits.replay_bytes:
            self._held.append(await self._next())

    @property
    def replayable(self) -> bool:
        """Whether the whole body is held, so that it can be sent once more."""
        return self._complete and not self._streaming

    @property
    def untouched(self) -> bool:
        """Whether no upstream has been given a byte of it yet."""
        return not self._streaming

    def payload(self) -> bytes | AsyncIterator[bytes]:
        """What to hand to the client library for one attempt."""
        if self.replayable:
            if len(self._held) > 1:
                self._held = [b"".join(self._held)]
            return self._held[0] if self._held else b""
        return self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        self._streaming = True
        try:
            while self._held:
                yield self._held.pop(0)
            while not self._complete:
                yield await self._next()
        except (FalxError, ClientGone) as error:
            self.failure = error
            raise

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        self._size += len(chunk)
        if self._size > self._limits.max_bytes:
            raise too_large(self._limits.max_bytes)
        if not message.get("more_body", False):
            self._complete = True
            self.received.set()
        return chunk

    async def client_gone(self) -> None:
        """Return when the client has hung up after sending its whole body."""
        await self.received.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class BodyCopy:
    """One of several copies of a body that is streamed once (``feed``): readers are a few chunks apart at most."""

    replayable = False
    # What ends the body early ends all copies with their request, from where they are fed.
    failure = None

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(CHUNKS_AHEAD)
        self.untouched = True

    async def payload(self) -> AsyncIterator[bytes]:
        """The chunks, as they are fed."""
        self.untouched = False
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def put(self, chunk: bytes | None) -> None:
        """Hand on the next chunk, None after the last one; waits while the reader is too far behind."""
        await self._chunks.put(chunk)


async def feed(body: RequestBody, copies: Sequence[BodyCopy]) -> None:
    """Stream ``body`` into all of its ``copies``, as fast as the slowest of their readers.

    Raises:
        FalxError, ClientGone: what stopped the client's body.
    """
    payload = body.payload()
    assert not isinstance(payload, bytes)  # noqa: S101  what is held needs no copies
    async for chunk in payload:
        for copy in copies:
            await copy.put(chunk)
    for copy in copies:
        await copy.put(None)


def too_large(max_bytes: int) -> InputTooLarge:
    """What is said of a body of more than ``max_bytes``."""
    return InputTooLarge(f"The body is larger than the limit of {max_bytes} bytes ({max_bytes / 2**20:g} MiB).")


def content_length(headers: Mapping[str, str], max_bytes: int) -> int | None:
    """The length that the headers announce. Raises ``InvalidRequest`` where it is no number, ``InputTooLarge``."""
    text = headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequest("Content-Length is not a whole number.")
    length = int(text)
    if length > max_bytes:
        raise too_large(max_bytes)
    return length
