"""The hot path: one slice request from the client to its model server and back, and the door that all of them pass.

Written against ASGI itself. What a framework would do here per request (dependencies, models, wrapped streams) costs
more than everything that the gateway has to do.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from core.contracts.operations.batches import FILES
from core.errors import FieldError, InvalidRequest
from core.http.requests import ClientGone, Deadline, deadline_exceeded
from gateway.answers import asked, relay
from gateway.auth import Authenticator, Principal
from gateway.body import BodyLimits, RequestBody
from gateway.keys import Scope as KeyScope
from gateway.rates import RateLimit
from gateway.upstream import Outgoing, Upstream

# All that a model server needs to know. Keys, cookies and addresses of callers stay here.
PASSED_HEADERS = ("accept", "content-type", "content-encoding", "traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """A public path, and what may be asked and answered there."""

    path: str
    parameters: frozenset[str]
    media_types: frozenset[str]


@dataclass(frozen=True, slots=True)
class SliceRoute(PublicRoute):
    """A public path that leads to one model server."""

    upstream: str
    target: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What every forwarded request is held to; ``scope`` is what a key needs."""

    auth: Authenticator
    rate_limit: RateLimit | None
    body_limits: BodyLimits
    default_timeout_s: float
    max_timeout_s: float
    scope: KeyScope = KeyScope.INFER


@dataclass(frozen=True, slots=True)
class Admitted:
    """What has passed the door. ``query`` is empty or begins with ``?``; ``headers`` are for model servers."""

    query: str
    headers: dict[str, str]
    deadline: Deadline
    body: RequestBody
    caller: Principal


class Endpoint(ABC):
    """ASGI endpoint of one route: key, rate, query and deadline are judged here, the rest is ``_answer``'s."""

    def __init__(self, route: PublicRoute, policy: Policy) -> None:
        self._route = route
        self._policy = policy

    @abstractmethod
    async def _answer(self, admitted: Admitted, send: Send) -> None:
        """Ask and answer; what of the body may be held has been read. Cancelled at the deadline and on a hang-up."""

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
        await self._exchange(Admitted(query, _passed_on(headers, scope, body.length), deadline, body, caller), send)

    async def _exchange(self, admitted: Admitted, send: Send) -> None:
        """Send and answer, until the deadline passes or the client hangs up; both drop the upstream connection."""
        hang_up: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(admitted.deadline.remaining_s) as timer:
                await admitted.body.prepare()
                hang_up = asyncio.create_task(_end_when_gone(admitted.body, timer))
                try:
                    await self._answer(admitted, send)
                finally:
                    hang_up.cancel()
        except TimeoutError:
            if hang_up is not None and hang_up.done():
                raise ClientGone from None
            raise deadline_exceeded() from None

    def _count_files(self, files: str, caller: Principal) -> None:
        """Each file of a call counts as a request; how many there were only the header of a model server tells."""
        if self._policy.rate_limit is not None and files.isdecimal() and int(files) > 1:
            self._policy.rate_limit.count(caller.name, int(files) - 1)

    def _deadline(self, scope: Scope) -> Deadline:
        deadline = Deadline.of(Request(scope), self._policy.default_timeout_s)
        longest = Deadline.after(self._policy.max_timeout_s)
        return deadline if deadline.expires_at_s <= longest.expires_at_s else longest


class Forwarder(Endpoint):
    """ASGI endpoint of a route that one model server answers."""

    def __init__(self, route: SliceRoute, upstream: Upstream, policy: Policy) -> None:
        super().__init__(route, policy)
        self._target = route.target
        self._upstream = upstream

    async def _answer(self, admitted: Admitted, send: Send) -> None:
        outgoing = Outgoing(self._target, admitted.query, admitted.headers, admitted.deadline)
        async with asked(self._upstream, outgoing, admitted.body, self._route.media_types) as response:
            self._count_files(response.headers.get(FILES, ""), admitted.caller)
            await relay(self._upstream.name, response, send)


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
