"""One model server as the gateway sees it: a connection pool, a circuit, and what may be tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import stamina
from prometheus_client import Histogram
from yarl import URL

from core.errors import ModelUnavailable, UpstreamError
from core.http.requests import TIMEOUT_HEADER, Deadline
from gateway.body import Sendable
from gateway.circuit import Circuit
from gateway.settings import GatewaySettings

# The first wait before a request is sent again; the second is twice as long. Long enough for a balancer to notice,
# short enough that a person does not.
RETRY_WAIT_S = 0.05
CONNECT_ATTEMPTS = 3
# A connection that broke after the body was sent may have taken the model server down with it: once more, not twice.
SENT_ATTEMPTS = 2
UNREACHABLE_RETRY_AFTER_S = 1
DNS_TTL_S = 5  # replicas come and go behind one name
# aiohttp would add its own; the model server is to see the caller's or none.
SKIPPED_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Unreachable(ModelUnavailable):
    """The connection failed before a byte of an answer; ``sent``: the upstream may have seen the request."""

    def __init__(self, name: str, *, sent: bool) -> None:
        what = "hung up before it answered" if sent else "cannot be reached"
        super().__init__(f"The model server '{name}' {what}.", retry_after_s=UNREACHABLE_RETRY_AFTER_S)
        self.sent = sent


class TurnedAway(Exception):
    """The upstream answered 503: it is starting or draining and has not begun the work."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request to an upstream, apart from its body. ``query`` is empty or begins with ``?``."""

    path: str
    query: str
    headers: dict[str, str]
    deadline: Deadline


class Connections:
    """The one pool of connections of the process, open between ``open`` and ``close``."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client session; the shell opens it before the first request."""
        if self._session is None:
            raise RuntimeError("the connections are not open")
        return self._session

    async def open(self) -> None:
        """Create the session; it belongs to the running event loop."""
        connector = aiohttp.TCPConnector(
            limit=self._settings.upstream_connections,
            keepalive_timeout=self._settings.upstream_keepalive_s,
            ttl_dns_cache=DNS_TTL_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=SKIPPED_HEADERS,
        )

    async def close(self) -> None:
        """Close every connection; nothing is in flight any more."""
        await self.session.close()


class Upstream:
    """Sends requests to one model server, or to the balancer before its replicas."""

    def __init__(
        self, name: str, base_url: str, connections: Connections, circuit: Circuit, seconds: Histogram
    ) -> None:
        self.name = name
        self.seconds = seconds
        self._circuit = circuit
        self._base = base_url.rstrip("/")
        self._connections = connections

    async def post(self, outgoing: Outgoing, body: Sendable) -> aiohttp.ClientResponse:
        """Send the request and return the answer with its body unread; again where that is safe.

        Inference is a pure function, so a request may run twice; what limits a replay is the body. See ``_may_repeat``.

        Raises:
            ModelUnavailable: the upstream cannot be reached, or its circuit is open.
            UpstreamError: what came back is not HTTP.
            FalxError, ClientGone: whatever stopped the client's own body.
        """
        try:
            return await self._attempt(outgoing, body, last=not body.replayable)
        except (Unreachable, TurnedAway) as error:
            if not _may_repeat(error, body):
                raise
            return await self._repeat(error, outgoing, body)

    async def _repeat(
        self, first: Unreachable | TurnedAway, outgoing: Outgoing, body: Sendable
    ) -> aiohttp.ClientResponse:
        sent = isinstance(first, TurnedAway) or first.sent
        retries = stamina.retry_context(
            on=lambda error: isinstance(error, Unreachable | TurnedAway) and _may_repeat(error, body),
            attempts=SENT_ATTEMPTS if sent else CONNECT_ATTEMPTS,
            wait_initial=RETRY_WAIT_S,
            wait_jitter=RETRY_WAIT_S,
            timeout=None,  # the deadline around the whole request ends it
        )
        async for attempt in retries:
            with attempt:
                # The first attempt was made without this machinery: it costs as much as the rest of the gateway.
                if attempt.num == 1:
                    raise first
                return await self._attempt(outgoing, body, last=True)
        raise first  # pragma: no cover  the loop returns or raises

    async def _attempt(self, outgoing: Outgoing, body: Sendable, *, last: bool) -> aiohttp.ClientResponse:
        attempt = self._circuit.admit()
        try:
            response = await self._send(outgoing, body)
        except Unreachable as error:
            attempt.failed(error)
            raise
        except UpstreamError:
            attempt.succeeded()  # something listens there; that it makes no sense is for the caller to know
            raise
        except BaseException:
            attempt.abandoned()
            raise
        attempt.succeeded()
        if response.status == HTTPStatus.SERVICE_UNAVAILABLE and not last:
            # A draining server says "Connection: close", so the next attempt may well meet another replica.
            response.close()
            raise TurnedAway
        return response

    async def _send(self, outgoing: Outgoing, body: Sendable) -> aiohttp.ClientResponse:
        headers = {**outgoing.headers, TIMEOUT_HEADER: str(max(1, outgoing.deadline.remaining_ms))}
        try:
            return await self._connections.session.post(
                URL(self._base + outgoing.path + outgoing.query, encoded=True),
                data=body.payload(),
                headers=headers,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            if body.failure is not None:
                raise body.failure from error
            raise _explain(self.name, error) from error

    async def get(self, path: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of a small answer about the upstream itself. The circuit is neither asked nor told.

        Raises:
            ModelUnavailable: no answer, or none in time.
            UpstreamError: what came back is not HTTP.
        """
        url = URL(self._base + path, encoded=True)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._connections.session.get(url, headers=headers, allow_redirects=False) as response,
            ):
                return response.status, await response.read()
        except TimeoutError as error:
            raise Unreachable(self.name, sent=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _explain(self.name, error) from error


def _explain(name: str, error: Exception) -> Unreachable | UpstreamError:
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return Unreachable(name, sent=False)
        case aiohttp.ClientConnectionError() | OSError():
            return Unreachable(name, sent=True)
        case _:
            return UpstreamError(f"The model server '{name}' gave an answer that is not HTTP.")


def _may_repeat(error: Unreachable | TurnedAway, body: Sendable) -> bool:
    """Held bodies may be sent again; a streamed one only if the connection failed before its first byte."""
    if isinstance(error, Unreachable) and not error.sent:
        return body.replayable or body.untouched
    return body.replayable
