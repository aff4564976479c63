"""HTTP/1.1 with bounds that the server underneath does not set: size and duration of a request's head."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.contracts.problem import PROBLEM_MEDIA_TYPE
from core.errors import InvalidRequest
from core.http.problems import problem_of

# What a client may go on sending after its answer (say, a 413): thrown away, because to close at once could destroy the
# answer on its way. Beyond this, the connection is closed all the same.
_MAX_DISCARDED_BYTES = 64 * 1024 * 1024
# ": " and CRLF around each header.
_HEADER_OVERHEAD = 4


class HeadTooLarge(Exception):
    """Ends the parser from inside its callback."""


class LimitedProtocol(HttpToolsProtocol):
    """Refuses a request's head above ``max_header_bytes`` with 431, and closes when one takes longer than a pause may.

    The parser underneath collects names and values without bound and waits for them without end. Bodies are bounded
    where they are read.
    """

    max_header_bytes: int = 64 * 1024

    _heads = 0
    _in_head = True
    _head_bytes = 0
    _head_since_s = 0.0
    _discarded_bytes = 0
    _refusal: tuple[int, str] = (400, "This is not an HTTP/1.1 request.")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Arm the timer, which would otherwise start after the first answer only."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._head_since_s = self.loop.time()
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Count what arrives while a head is incomplete."""
        heads, was_in_head = self._heads, self._in_head
        super().data_received(data)
        # The last bytes of a body also end between two heads; they are not part of one.
        if not was_in_head or heads != self._heads or not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.max_header_bytes:
            self._refuse_head()
        elif self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            # Not while an answer is due: a client may send the next head, or a stray line end, before it has this one.
            self._arm()

    def on_message_begin(self) -> None:
        """Time the head from its first byte."""
        super().on_message_begin()
        self._head_since_s = self.loop.time()

    def on_headers_complete(self) -> None:
        """Measure the head exactly: one that came in a single read was not counted."""
        self._heads += 1
        self._in_head = False
        self._head_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) + _HEADER_OVERHEAD for name, value in self.headers)
        if size > self.max_header_bytes:
            self._set_refusal()
            raise HeadTooLarge
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Read on, but not without end for a request that has been answered."""
        super().on_body(body)
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > _MAX_DISCARDED_BYTES:
                self.transport.close()

    def on_message_complete(self) -> None:
        """What follows is the next head."""
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """A problem instead of plain text; ``msg`` is the server's own and says no more than ours."""
        del msg
        status, detail = self._refusal
        body = problem_of(InvalidRequest(detail), None, status).model_dump_json(exclude_none=True).encode()
        head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()]
        head.extend(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        head.append(b"content-type: %s\r\ncontent-length: %d\r\n" % (PROBLEM_MEDIA_TYPE.encode(), len(body)))
        head.append(b"connection: close\r\n\r\n")
        self.transport.write(b"".join((*head, body)))
        self.transport.close()

    def _refuse_head(self) -> None:
        self._set_refusal()
        self.send_400_response("")

    def _set_refusal(self) -> None:
        self._refusal = (431, f"The head of the request is larger than {self.max_header_bytes} bytes.")

    def _arm(self) -> None:
        left_s = self.timeout_keep_alive - (self.loop.time() - self._head_since_s)
        self.timeout_keep_alive_task = self.loop.call_later(max(0.0, left_s), self.timeout_keep_alive_handler)


def protocol_with_limits(max_header_bytes: int) -> type[LimitedProtocol]:
    """``LimitedProtocol`` with its limit, as uvicorn wants it: a class."""
    return type("LimitedProtocol", (LimitedProtocol,), {"max_header_bytes": max_header_bytes})
