"""One pure ASGI middleware around everything: request id, metrics, one log line, headers, and the last resort."""

from __future__ import annotations

import asyncio
import time

import structlog
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import FalxError, NotReady, StartupError
from core.http.draining import Drain
from core.http.problems import internal_error, problem_response
from core.http.requests import ClientGone, make_request_id
from core.telemetry.metrics import Metrics

logger = structlog.get_logger("falx.requests")

# As nginx logs it: the client closed the connection before there was an answer.
CLIENT_GONE_STATUS = 499
UNMATCHED = "unmatched"

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Everything that may hold patient data; the last are the paper's two routes.
_PRIVATE_PREFIXES = ("/v1/", "/v2/", "/predict_")
_PROBES = frozenset({"/livez", "/readyz", "/metrics"})


class ShellState:
    """What the parts of one application's shell share."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.drain = Drain()
        self.startup_error: StartupError | None = None


class RequestShell:
    """Wraps the whole application. Written for few microseconds a request: no task, no stream, no second wrapper."""

    def __init__(self, app: ASGIApp, shell: ShellState) -> None:
        self._app = app
        self._shell = shell
        self._metrics = shell.metrics
        # labels() takes a lock and hashes on each call: the few combinations that occur are kept.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3. Websockets are not spoken here, and the server accepts none."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_s = time.monotonic()
        request_id = make_request_id(_header(scope, b"x-request-id"))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["arrived_s"] = arrived_s
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answer = _Answer(send, scope, request_id, self._shell.drain)
        try:
            await self._app(scope, receive, answer)
        except (ClientGone, ClientDisconnect):
            if not answer.started:
                await Response(status_code=CLIENT_GONE_STATUS)(scope, receive, answer)
            answer.status = CLIENT_GONE_STATUS
        except asyncio.CancelledError:
            # Only the end of the grace period cancels a request; its client may try another replica.
            await self._refuse(scope, receive, answer, NotReady("The server is stopping.", retry_after_s=1))
        except Exception:
            logger.exception("unexpected error")
            await self._refuse(scope, receive, answer, internal_error())
        finally:
            self._record(scope, answer.status, time.monotonic() - arrived_s)

    async def _refuse(self, scope: Scope, receive: Receive, answer: _Answer, error: FalxError) -> None:
        """Answer with a problem, unless an answer has begun: then the server closes the connection on its own."""
        if not answer.started:
            await problem_response(error, scope, self._metrics)(scope, receive, answer)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_template(scope)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        counter = self._counters.get((route, method, status))
        if counter is None:
            counter = self._metrics.requests.labels(route, method, str(status))
            self._counters[route, method, status] = counter
            self._histograms[route] = self._metrics.request_seconds.labels(route)
        counter.inc()
        self._histograms[route].observe(seconds)
        log = logger.debug if route in _PROBES else logger.info
        line = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1000, 2)}
        problem = scope["state"].get("problem")
        if problem is not None:
            line["problem"] = problem
        log("request", **line)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; a ``StartupError`` becomes one line for the operator instead of a traceback."""

        async def shorten(message: Message) -> None:
            if self._shell.startup_error is not None and message["type"] == "lifespan.startup.failed":
                message = {"type": "lifespan.startup.failed", "message": ""}
            await send(message)

        try:
            await self._app(scope, receive, shorten)
        except StartupError as error:
            # One line, no frames: what is wrong is the operator's to mend, not the code's.
            logger.error("cannot start", code=error.code, detail=error.detail)  # noqa: TRY400


class _Answer:
    """The ``send`` of one request: notes the status and adds the headers that every answer carries."""

    __slots__ = ("_drain", "_request_id", "_scope", "_send", "started", "status")

    def __init__(self, send: Send, scope: Scope, request_id: str, drain: Drain) -> None:
        self._send = send
        self._scope = scope
        self._request_id = request_id
        self._drain = drain
        self.started = False
        # Kept when the application ends without an answer; the server then sends its own 500.
        self.status = 500

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            self._add_headers(message)
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        # What a model server has said of itself already comes through the gateway a second time.
        ours = [(b"x-request-id", self._request_id.encode()), (b"x-content-type-options", b"nosniff")]
        if self._scope["path"].startswith(_PRIVATE_PREFIXES):
            ours.append((b"cache-control", b"no-store"))
        names = {name for name, _ in ours}
        headers = [header for header in message.get("headers", ()) if header[0] not in names] + ours
        if self._drain.active:
            # Tells keep-alive clients to turn elsewhere; the server closes after this answer.
            headers.append((b"connection", b"close"))
        message["headers"] = headers


def route_template(scope: Scope) -> str:
    """The template of the route that took the request (``/v1/models/{name}``), or ``unmatched``."""
    # A route of an included router knows its path without the router's prefix; its context knows the whole.
    context = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(context, "path_format", None) or getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else UNMATCHED


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return None
