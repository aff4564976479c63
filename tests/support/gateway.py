"""A scripted model server for tests of the gateway: real sockets, with every byte of the answer in the test's hands."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.fixtures.servers import Reply, Server, free_port, running

JSON = "application/json"
PROBLEM = "application/problem+json"
ANSWER = b'{"label": "glioma",  "probability": 0.93}'
WAIT_S = 10.0
MIB = 2**20
# What a gateway of ``patient_pair`` takes.
MAX_BODY = 8 * MIB
PATH = "/v1/classifications"


@dataclass
class Exchange:
    """One request as the model server sees it, and the means to answer it or to misbehave."""

    method: str
    target: str
    headers: Mapping[str, str]
    connection: socket.socket
    stream: Any
    body_read: bool = False

    def body(self) -> bytes:
        """The whole body, by Content-Length or in chunks."""
        self.body_read = True
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.stream.readline(), 16):
                parts.append(self.stream.read(size))
                self.stream.readline()
            self.stream.readline()
            return b"".join(parts)
        data: bytes = self.stream.read(int(self.headers.get("content-length", "0")))
        return data

    def answer(
        self, status: int = 200, body: bytes = ANSWER, media_type: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        """A sound answer."""
        if not self.body_read:
            self.body()
        lines = [f"HTTP/1.1 {status} Some Reason", f"Content-Type: {media_type}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def problem(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        """A refusal as a model server gives it."""
        body = {"type": f"/docs/problems#{code}", "title": code, "status": status, "detail": "scripted", "code": code}
        self.answer(status, json.dumps(body).encode(), PROBLEM, headers)

    def raw(self, data: bytes) -> None:
        """These bytes, HTTP or not."""
        self.connection.sendall(data)

    def hang_up(self) -> None:
        """Close the connection now."""
        self.connection.shutdown(socket.SHUT_RDWR)

    def gone_within(self, seconds: float) -> bool:
        """Whether the gateway closes the connection within that time."""
        self.connection.settimeout(seconds)
        try:
            while self.connection.recv(65536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


Script = Callable[[Exchange], None]


def echo(exchange: Exchange) -> None:
    """The default script: read everything, answer 200."""
    exchange.answer()


@dataclass
class ScriptedUpstream:
    """Answers ``/readyz`` and ``/v1/models`` by itself, everything else by ``script``."""

    port: int
    script: Script = echo
    seen: list[Exchange] = field(default_factory=list)
    models: tuple[dict[str, Any], ...] = ()
    _server: socketserver.ThreadingTCPServer | None = None
    _open: set[socket.socket] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; also again after ``stop``."""
        upstream = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                upstream._serve(self)

        class Listener(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A connection that the test broke on purpose is no error."""

        self._server = Listener(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go away as a killed process does: the port is closed and so is every connection."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Forget what was seen and be sound again."""
        self.script = echo
        self.seen = []

    def _serve(self, handler: socketserver.StreamRequestHandler) -> None:
        self._open.add(handler.connection)
        try:
            while (exchange := _read_head(handler)) is not None:
                self._answer(exchange)
        finally:
            self._open.discard(handler.connection)

    def _answer(self, exchange: Exchange) -> None:
        if exchange.target == "/readyz":
            exchange.answer(body=b'{"ready": true}')
        elif exchange.target == "/v1/models":
            exchange.answer(body=json.dumps({"models": self.models}).encode())
        else:
            self.seen.append(exchange)
            self.script(exchange)


def _read_head(handler: socketserver.StreamRequestHandler) -> Exchange | None:
    line = handler.rfile.readline()
    if not line.strip():
        return None
    method, target, _ = line.decode().split()
    headers = {}
    while (line := handler.rfile.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Exchange(method, target, headers, handler.connection, handler.rfile)


@contextmanager
def scripted_upstream() -> Iterator[ScriptedUpstream]:
    """A scripted model server that is gone afterwards."""
    upstream = ScriptedUpstream(free_port())
    upstream.start()
    try:
        yield upstream
    finally:
        upstream.stop()


@contextmanager
def gateway_before(*upstreams: str, env: Mapping[str, str] | None = None, wait_ready: bool = True) -> Iterator[Server]:
    """A real gateway process before the given classifier and segmenter (or one address for both)."""
    classifier, segmenter = upstreams if len(upstreams) == 2 else upstreams * 2
    settings = {
        "FALX_CLASSIFIER_URL": classifier,
        "FALX_SEGMENTER_URL": segmenter,
        "FALX_READINESS_INTERVAL_S": "0.1",
        "FALX_CATALOGUE_TTL_S": "0",
        **(env or {}),
    }
    with running("gateway", settings, wait_ready=wait_ready) as server:
        yield server


Pair = tuple[Server, ScriptedUpstream]


@contextmanager
def patient_pair() -> Iterator[Pair]:
    """A gateway before a scripted upstream. Its circuit has tests of its own: a row of bad answers must not open it."""
    env = {"FALX_MAX_REQUEST_BYTES": str(MAX_BODY), "FALX_CIRCUIT_FAILURES": "1000"}
    with scripted_upstream() as upstream, gateway_before(upstream.url, env=env) as server:
        yield server, upstream


def post(gateway: Server, body: bytes = b"pixels", path: str = PATH, **headers: str) -> Reply:
    """Send a picture; underscores in the names of ``headers`` stand for hyphens."""
    sent = {"Content-Type": "image/png", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return gateway.request("POST", path, body, sent)
