"""Streaming readers of ``multipart/form-data`` (RFC 7578) that refuse as soon as they can tell.

``MultipartReader`` collects small parts; ``StreamedParts`` hands large ones on as they come in.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from core.errors import FieldError, InputTooLarge, InvalidRequest, RequestError

ENVELOPE_BYTES: Final = 64 * 1024
"""Room beside what a body holds, for boundaries and headers of parts, or the braces and names of JSON: generous."""
# What stands before the first boundary is for readers that know no MIME, and ignored (RFC 2046, 5.1.1).
_MOST_PREAMBLE_BYTES: Final = 16 * 1024
# Binary is what RFC 7578 sends; the other two change no byte either.
_PLAIN_ENCODINGS = (b"", b"binary", b"7bit", b"8bit")


@dataclass(slots=True)
class Part:
    """One named part; ``content_type`` as the client wrote it, or None. ``fault`` is what is wrong with its data."""

    name: str
    content_type: str | None
    data: bytearray = field(default_factory=bytearray)
    fault: RequestError | None = None


def boundary_of(content_type: str) -> bytes:
    """The boundary parameter of ``content_type``; raises ``InvalidRequest`` where it is missing."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise InvalidRequest(
            "The Content-Type multipart/form-data lacks its boundary parameter. Let your HTTP library set this header."
        )
    return boundary


class PartSink(Protocol):
    """Takes the parts of a body, one after the other."""

    def begin(self, name: str, content_type: str | None) -> None:
        """A part begins; ``content_type`` as the client wrote it, or None."""

    def data(self, chunk: memoryview) -> None:
        """More bytes of it, valid during the call only."""

    def end(self) -> None:
        """It ends."""


class MultipartFeed:
    """Fed with the body chunk by chunk, tells ``sink`` of its parts. ``close`` ends it.

    A part called ``repeatable`` may come several times, up to ``most`` of it. A fault raises ``InvalidRequest`` as soon
    as it is seen, too many parts ``InputTooLarge``; the feed must not be fed again after that.
    """

    def __init__(
        self, boundary: bytes, names: Collection[str], sink: PartSink, *, repeatable: str | None = None, most: int = 1
    ) -> None:
        self._names = names
        self._sink = sink
        self._repeatable = repeatable
        self._most = most
        self._repeated = 0
        self._seen: set[str] = set()
        self._name = ""
        self._empty = True
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._ended = False
        # Held until the first boundary is found; None from then on.
        self._preamble: bytes | None = b""
        self._first = re.compile(rb"(?:\A|\r\n)(?=--" + re.escape(boundary) + rb"(?:--|[ \t]*\r\n))")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise _malformed(error) from error

    def feed(self, chunk: bytes) -> None:
        """Read on."""
        if self._preamble is not None:
            chunk = self._after_preamble(self._preamble + chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(error) from error

    def _after_preamble(self, held: bytes) -> bytes:
        """``held`` from its first boundary on; nothing as long as there is none."""
        found = self._first.search(held)
        if found is not None:
            self._preamble = None
            return held[found.end() :]
        if len(held) > _MOST_PREAMBLE_BYTES:
            raise _without_boundary()
        self._preamble = held
        return b""

    def close(self) -> None:
        """Note the end of the body; raises ``InvalidRequest`` if the closing boundary is missing."""
        if self._preamble is not None:
            raise _without_boundary()
        if not self._ended:
            raise InvalidRequest(
                "The multipart body ends before its closing boundary: it was cut off, or its boundary is not the one "
                "named in Content-Type."
            )

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._empty = True

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value.strip()
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        name = self._part_name()
        pointer = f"part/{name}"
        if name not in self._names:
            raise _fault(f"There is no part of this name here; known parts: {', '.join(self._names)}.", "part")
        if name == self._repeatable:
            self._count()
        elif name in self._seen:
            raise _fault(f"The part {name} occurs twice.", pointer)
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in _PLAIN_ENCODINGS:
            raise _fault(f"The part {name} has a Content-Transfer-Encoding; send its bytes as they are.", pointer)
        content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self._seen.add(name)
        self._name = name
        self._sink.begin(name, content_type or None)

    def _count(self) -> None:
        self._repeated += 1
        if self._repeated > self._most:
            detail = f"At most {self._most} parts {self._repeatable} are taken in one call."
            raise InputTooLarge(detail, errors=[FieldError(f"part/{self._repeatable}", detail)])

    def _part_name(self) -> str:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")
        if disposition != b"form-data" or not name:
            raise _fault('A part lacks its header Content-Disposition: form-data; name="...".', "part")
        return name.decode("utf-8", errors="replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._empty = self._empty and start == end
        self._sink.data(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        if self._empty and self._name != self._repeatable:
            raise empty_part(self._name)
        self._sink.end()

    def _on_end(self) -> None:
        self._ended = True


class MultipartReader:
    """Fed with the body chunk by chunk; ``close`` gives the parts as they came.

    A fault raises ``InvalidRequest``, a part above ``max_part_bytes`` raises ``InputTooLarge``, both as soon as they
    are seen; the reader must not be fed again after that. A ``repeatable`` part keeps a fault of its own data instead,
    as one bad file of several harms no other; what is too large of it is not held.
    """

    def __init__(
        self,
        boundary: bytes,
        names: Collection[str],
        max_part_bytes: int,
        *,
        repeatable: str | None = None,
        most: int = 1,
    ) -> None:
        self._max_part_bytes = max_part_bytes
        self._repeatable = repeatable
        self._parts: list[Part] = []
        self._feed = MultipartFeed(boundary, names, self, repeatable=repeatable, most=most)

    def feed(self, chunk: bytes) -> None:
        """Read on."""
        self._feed.feed(chunk)

    def close(self) -> list[Part]:
        """The parts at the end of the body; raises ``InvalidRequest`` if the closing boundary is missing."""
        self._feed.close()
        return self._parts

    def begin(self, name: str, content_type: str | None) -> None:
        """Called by the feed."""
        self._parts.append(Part(name, content_type))

    def data(self, chunk: memoryview) -> None:
        """Called by the feed."""
        part = self._parts[-1]
        if part.fault is not None:
            return
        try:
            check_part_size(part.name, len(part.data) + len(chunk), self._max_part_bytes)
        except InputTooLarge as error:
            if part.name != self._repeatable:
                raise
            part.fault, part.data = error, bytearray()
        else:
            part.data += chunk

    def end(self) -> None:
        """Called by the feed."""
        part = self._parts[-1]
        if not part.data and part.fault is None:
            part.fault = empty_part(part.name)


class StreamedPart:
    """One part while it comes in; ``chunks`` is to be read once, and before the next part is asked for."""

    def __init__(self, name: str, content_type: str | None, chunks: AsyncGenerator[bytes, None]) -> None:
        self.name = name
        self.content_type = content_type
        self.chunks = chunks


class StreamedParts:
    """The parts of ``body`` in the order in which they come in; at most one chunk of it is held.

    Iterating raises ``InvalidRequest`` for a fault, and whatever ``body`` raises.
    """

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes, names: Collection[str]) -> None:
        self._body = body
        # The name and type of a part that begins, bytes of it, None at its end.
        self._events: deque[tuple[str, str | None] | bytes | None] = deque()
        self._feed = MultipartFeed(boundary, names, self)
        self._closed = False
        self._inside = False

    def __aiter__(self) -> AsyncIterator[StreamedPart]:
        return self

    async def __anext__(self) -> StreamedPart:
        async for _ in self._chunks():
            pass  # what the caller has left of the part before
        while not self._events and not self._closed:
            await self._read_on()
        if not self._events:
            raise StopAsyncIteration
        start = self._events.popleft()
        assert isinstance(start, tuple)  # noqa: S101  what follows the end of a part
        self._inside = True
        return StreamedPart(*start, self._chunks())

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while self._inside:
            while not self._events:
                await self._read_on()
            event = self._events.popleft()
            if isinstance(event, bytes):
                yield event
            else:
                self._inside = False

    async def _read_on(self) -> None:
        chunk = await anext(self._body, None)
        if chunk is None:
            self._closed = True
            self._feed.close()
        else:
            self._feed.feed(chunk)

    def begin(self, name: str, content_type: str | None) -> None:
        """Called by the feed."""
        self._events.append((name, content_type))

    def data(self, chunk: memoryview) -> None:
        """Called by the feed."""
        self._events.append(bytes(chunk))

    def end(self) -> None:
        """Called by the feed."""
        self._events.append(None)


def empty_part(name: str) -> InvalidRequest:
    """What is said of a part without a byte."""
    return _fault(f"The part {name} is empty.", f"part/{name}")


def check_part_size(name: str, size: int, max_bytes: int) -> None:
    """Raise ``InputTooLarge`` for a part of more than ``max_bytes``."""
    if size > max_bytes:
        raise InputTooLarge(
            f"The part {name} is larger than {max_bytes} bytes.",
            errors=[FieldError(f"part/{name}", f"at most {max_bytes} bytes")],
        )


def _fault(detail: str, pointer: str) -> InvalidRequest:
    return InvalidRequest(detail, errors=[FieldError(pointer, detail)])


def _without_boundary() -> InvalidRequest:
    return InvalidRequest("The multipart body is malformed: the boundary named in Content-Type does not begin a line.")


def _malformed(error: FormParserError) -> InvalidRequest:
    # The parser's own words hold offsets and single characters only, and name the fault.
    return InvalidRequest(f"The multipart body is malformed: {error}.")
