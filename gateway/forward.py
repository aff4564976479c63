"""The hot path: one slice request from the client to its model server and back.

Written against ASGI itself. What a framework would do here per request (dependencies, models, wrapped streams) costs
more than everything that the gateway has to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import aiohttp
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from core.contracts.operations.batches import FILES
from core.errors import FieldError, InvalidRequest
from core.http.requests import ClientGone, Deadline, deadline_exceeded
from gateway.answers import check_answer, relay
from gateway.auth import Authenticator, Principal
from gateway.body import BodyLimits, RequestBody
from gateway.keys import Scope as KeyScope
from gateway.rates import RateLimit
from gateway.upstream import Outgoing, Upstream

# All that a model server needs to know. Keys, cookies and addresses of callers stay here.
PASSED_HEADERS = ("accept", "content-type", "content-encoding", "traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class SliceRoute:
    """A public path, where it leads, and what may be asked and answered there."""

    path: str
    upstream: str
    target: str
    parameters: frozenset[str]
    media_types: frozenset[str]


@dataclass(frozen=True, slots=True)
class Policy:
    """What every forwarded request is held to; ``scope`` is what a key needs."""

    auth: Authenticator
    rate_limit: RateLimit | None
    body_limits: BodyLimits
    default_timeout_s: float
    max_timeout_s: float
    scope: KeyScope = KeyScope.INFER


class Forwarder:
    """ASGI endpoint of one slice route."""

    def __init__(self, route: SliceRoute, upstream: Upstream, policy: Policy) -> None:
        self._route = route
        self._upstream = upstream
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self._route  # names the route in logs and metrics
        headers = _by_name(scope)
        policy = self._policy
        caller = policy.auth.require(headers, client_address(scope), policy.scope, scope["state"])
        if policy.rate_limit is not None:
            policy.rate_limit.hit(caller.name)
        query = checked_query(scope["query_string"], self._route.parameters)
        deadline = self._deadline(scope)
        body = RequestBody(receive, headers, policy.body_limits)
        outgoing = Outgoing(self._route.target, query, _passed_on(headers, scope, body.length), deadline)
        await self._exchange(outgoing, body, send, caller)

    async def _exchange(self, outgoing: Outgoing, body: RequestBody, send: Send, caller: Principal) -> None:
        """Send and answer, until the deadline passes or the client hangs up; both drop the upstream connection."""
        hang_up: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(outgoing.deadline.remaining_s) as timer:
                await body.prepare()
                hang_up = asyncio.create_task(_end_when_gone(body, timer))
                try:
                    await self._ask(outgoing, body, send, caller)
                finally:
                    hang_up.cancel()
        except TimeoutError:
            if hang_up is not None and hang_up.done():
                raise ClientGone from None
            raise deadline_exceeded() from None

    async def _ask(self, outgoing: Outgoing, body: RequestBody, send: Send, caller: Principal) -> None:
        started = time.perf_counter()
        try:
            response = await self._upstream.post(outgoing, body)
            try:
                check_answer(self._upstream.name, response, self._route.media_types)
                self._count_files(response, caller)
                await relay(self._upstream.name, response, send)
            except BaseException:
                response.close()
                raise
        finally:
            self._upstream.seconds.observe(time.perf_counter() - started)

    def _count_files(self, response: aiohttp.ClientResponse, caller: Principal) -> None:
        """Each file of a call counts as a request; how many there were only the model server knows."""
        files = response.headers.get(FILES, "")
        if self._policy.rate_limit is not None and files.isdecimal() and int(files) > 1:
            self._policy.rate_limit.count(caller.name, int(files) - 1)

    def _deadline(self, scope: Scope) -> Deadline:
        deadline = Deadline.of(Request(scope), self._policy.default_timeout_s)
        longest = Deadline.after(self._policy.max_timeout_s)
        return deadline if deadline.expires_at_s <= longest.expires_at_s else longest


async def _end_when_gone(body: RequestBody, timer: asyncio.Timeout) -> None:
    await body.client_gone()
    timer.reschedule(0)


def _by_name(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        # RFC 9110, 5.2: lines of one name are one list. Where no list makes sense, no value will match.
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def client_address(scope: Scope) -> str:
    """Address of the peer; behind a proxy that is the proxy."""
    client = scope.get("client")
    return client[0] if client else "unknown"


def checked_query(raw: bytes, known: frozenset[str]) -> str:
    """The query as it came, ``?`` included. The values are the model server's to judge.

    Raises:
        InvalidRequest: a parameter is unknown or occurs twice: a misspelt ``threshold`` must not pass silently.
    """
    if not raw:
        return ""
    names = [name for name, _ in parse_qsl(raw.decode("latin-1"), keep_blank_values=True)]
    for name in names:
        if name not in known:
            # It is not repeated: what slipped into the address by mistake may be data of a patient.
            names_known = ", ".join(sorted(known)) or "none"
            raise _query_fault(f"A query parameter is unknown here; known: {names_known}.", "query")
        if names.count(name) > 1:
            raise _query_fault(f"The query parameter {name} occurs more than once.", f"query/{name}")
    return "?" + raw.decode("latin-1")


def _query_fault(detail: str, pointer: str) -> InvalidRequest:
    return InvalidRequest(detail, errors=[FieldError(pointer, detail)])


def _passed_on(headers: Mapping[str, str], scope: Scope, length: int | None) -> dict[str, str]:
    passed = {name: headers[name] for name in PASSED_HEADERS if name in headers}
    passed["X-Request-ID"] = scope["state"]["request_id"]
    if length is not None:
        passed["Content-Length"] = str(length)
    return passed
