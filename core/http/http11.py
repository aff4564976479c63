"""HTTP/1.1 as clients really speak it, with bounds that the server underneath does not set.

Bounded are the size and duration of a request's head, and what a chunked body carries beside its bytes. An offer to
upgrade (``Upgrade: h2c``: Java's HttpClient, Spring, ``curl --http2``) is ignored as RFC 9110, 7.8 allows, and a client
that ends its own side of the connection after its request gets its answer. RFC 9112, 3.2: one Host, exactly.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.contracts.problem import PROBLEM_MEDIA_TYPE
from core.errors import InvalidRequest
from core.http.problems import problem_of

# What a client may go on sending after its answer (say, a 413): thrown away, because to close at once could destroy the
# answer on its way. Beyond this, the connection is closed all the same.
_MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024
# ": " and CRLF around each header.
_HEADER_OVERHEAD: Final = 4
# Who is done with sending says so at once; an end of the stream that comes later is a client that has hung up.
_HALF_CLOSE_S: Final = 0.02


class HeadRefused(Exception):
    """Ends the parser from inside its callback."""


class LimitedProtocol(HttpToolsProtocol):
    """Refuses a request's head above ``max_header_bytes`` with 431, and closes when one takes longer than a pause may.

    The parser underneath collects names and values without bound, those after the last chunk of a body as well, and
    waits for them without end. Bodies are bounded where they are read.
    """

    max_header_bytes: int = 64 * 1024

    _heads = 0
    _in_head = True
    _head_bytes = 0
    _head_since_s = 0.0
    _discarded_bytes = 0
    # Bytes since the last one of a body: sizes and extensions of chunks, fields after the last one.
    _beside_body_bytes = 0
    _received_at_s = 0.0
    # The request at hand offers an upgrade: it is read again without the offer.
    _offers_upgrade = False
    _refusal: tuple[int, str] = (400, "This is not an HTTP/1.1 request.")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Arm the timer, which would otherwise start after the first answer only."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._head_since_s = self.loop.time()
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Count what arrives while a head is incomplete, and beside a body."""
        heads, was_in_head = self._heads, self._in_head
        self._beside_body_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if not self._in_head and self._beside_body_bytes > self.max_header_bytes and not self.transport.is_closing():
            self._refuse(431, f"What stands beside the bytes of the body is larger than {self.max_header_bytes} bytes.")
        # The last bytes of a body also end between two heads; they are not part of one.
        if not was_in_head or heads != self._heads or not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.max_header_bytes:
            self._refuse(*self._too_large())
        elif self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            # Not while an answer is due: a client may send the next head, or a stray line end, before it has this one.
            self._arm()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade as offer:
            self._go_on_without(data[offer.args[0] :])

    def _go_on_without(self, rest: bytes) -> None:
        """Read the request again as if it had offered nothing; ``rest`` follows its head."""
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += (name, b": ", value, b"\r\n")
        self._offers_upgrade = False
        self._in_head = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as the server underneath has it
        self._parse(b"".join((*head, b"\r\n", rest)))

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the connection for the answer where the client has merely finished sending (``shutdown(SHUT_WR)``)."""
        due = self.cycle is not None and not self.cycle.response_started and not self.cycle.more_body
        if not due or self.pipeline or self.loop.time() - self._received_at_s > _HALF_CLOSE_S:
            return None
        self.cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """Time the head from its first byte."""
        super().on_message_begin()
        self._head_since_s = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field of the head; those after a body's last chunk are dropped (RFC 9110, 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Measure the head exactly: one that came in a single read was not counted."""
        self._heads += 1
        self._in_head = False
        self._head_bytes = self._beside_body_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) + _HEADER_OVERHEAD for name, value in self.headers)
        if size > self.max_header_bytes:
            self._refusal = self._too_large()
            raise HeadRefused
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offers_upgrade = True
            return
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            self._refusal = (400, f"A request of HTTP/1.1 has one header Host; this one has {hosts}.")
            raise HeadRefused
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Read on, but not without end for a request that has been answered."""
        self._beside_body_bytes = 0
        super().on_body(body)
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > _MAX_DISCARDED_BYTES:
                self.transport.close()

    def on_message_complete(self) -> None:
        """What follows is the next head."""
        if self._offers_upgrade:
            return
        self._in_head = True
        self._beside_body_bytes = 0
        self._received_at_s = self.loop.time()
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

    def _refuse(self, status: int, detail: str) -> None:
        self._refusal = (status, detail)
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # in the middle of an answer there is no place for another
        else:
            self.send_400_response("")

    def _too_large(self) -> tuple[int, str]:
        return 431, f"The head of the request is larger than {self.max_header_bytes} bytes."

    def _arm(self) -> None:
        left_s = self.timeout_keep_alive - (self.loop.time() - self._head_since_s)
        self.timeout_keep_alive_task = self.loop.call_later(max(0.0, left_s), self.timeout_keep_alive_handler)


def protocol_with_limits(max_header_bytes: int) -> type[LimitedProtocol]:
    """``LimitedProtocol`` with its limit, as uvicorn wants it: a class."""
    return type("LimitedProtocol", (LimitedProtocol,), {"max_header_bytes": max_header_bytes})
