"""One service as one process: its socket, its server, and the way it ends."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import socket
import sys
import threading
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from core.http.draining import Drain, watch_parent
from core.http.http11 import protocol_with_limits
from core.http.middleware import ShellState
from core.http.settings import ServingSettings

logger = structlog.get_logger("falx.process")

# Beyond the grace period: what on_stop hooks and threads get before the process is ended for them.
_LAST_RESORT_S = 10.0
# Ctrl-C reaches a whole process group and a supervisor then sends SIGTERM: signals this close are one wish.
_ONE_WISH_S = 1.0
# Net allocations between two runs of the cyclic collector. A request leaves next to no cycles behind.
_GC_ALLOCATIONS = 20_000
# How often a server looks whether it has to stop: often enough to end soon, seldom enough to cost nothing while idle.
_TICK_S = 0.25


class QuietServer(uvicorn.Server):
    """uvicorn, which wakes up less than half as often while nobody asks for anything."""

    async def main_loop(self) -> None:
        """Tick until told to stop. Each tick writes the date header anew, as uvicorn's do every second."""
        while not await self.on_tick(0):  # noqa: ASYNC110  signal handlers may set no event
            await asyncio.sleep(_TICK_S)


class DrainingServer(QuietServer):
    """uvicorn, but a first SIGTERM or SIGINT drains and exits 0, and a later one exits at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain, settings: ServingSettings) -> None:
        super().__init__(config)
        self._drain = drain
        self._settings = settings
        self._announced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal handler: takes no lock and logs nothing, as it may interrupt a line that is being logged.

        Signals are not recorded for uvicorn, which would raise them again at the end and spoil the exit code.
        """
        del frame
        if self._drain.older_than(_ONE_WISH_S):
            os._exit(128 + sig)
        self._drain.begin()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        await super().startup(sockets)
        # What start-up made lives as long as the process: the collector need not walk through it again and again.
        gc.freeze()
        gc.set_threshold(_GC_ALLOCATIONS)
        if self.started:
            logger.info("serving")

    async def on_tick(self, counter: int) -> bool:
        """Asked at every tick whether to stop listening."""
        if self._drain.active and not self._announced:
            self._announced = True
            logger.info("draining", drain_delay_s=self._settings.drain_delay_s)
            end_after(self._settings)
        return await super().on_tick(counter) or self._drain.older_than(self._settings.drain_delay_s)


def end_after(settings: ServingSettings) -> None:
    """End the process with code 1 should it still be there well after its grace period, kept by a stuck thread."""
    limit_s = settings.drain_delay_s + settings.shutdown_grace_s + _LAST_RESORT_S
    timer = threading.Timer(limit_s, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


def run(app: FastAPI, settings: ServingSettings) -> None:
    """Serve ``app`` (made by ``create_shell``) until it is told to stop; returns when all is drained.

    SIGTERM, SIGINT or the end of file on ``settings.parent_fd``: ``/readyz`` answers 503 at once, listening goes on for
    ``drain_delay_s``, then what is in flight gets ``shutdown_grace_s`` to finish. Ends the process with code 1 and one
    line when the port is taken or the application refuses to start.
    """
    shell = app.state.shell
    assert isinstance(shell, ShellState)  # noqa: S101
    listener = bind(settings.host, settings.port)
    server = DrainingServer(server_config(app, settings), shell.drain, settings)
    if settings.parent_fd is not None:
        watch_parent(settings.parent_fd, lambda: _on_parent_death(shell.drain, settings))
    host, port = listener.getsockname()[:2]
    logger.info("starting", address=host, port=port, pid=os.getpid())
    try:
        server.run(sockets=[listener])
    except SystemExit:
        # The reason has been logged, by the shell or by uvicorn.
        sys.exit(1)
    logger.info("stopped")


def _on_parent_death(drain: Drain, settings: ServingSettings) -> None:
    # The event loop may be stuck, and no supervisor is left to kill the process: the clock starts here already.
    drain.begin()
    end_after(settings)


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket, not yet listening; ends the process with one line where that fails.

    Bound before anything is loaded, so that a taken port is told at once and not after the models are warm.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        # A restarted service takes its port again although old connections linger in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        sys.exit(f"falx: cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}.")
    listener.setblocking(False)
    return listener


def server_config(app: FastAPI, settings: ServingSettings) -> uvicorn.Config:
    """uvicorn, set up for ``app`` the way every Falx service runs."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol_with_limits(settings.max_header_bytes),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Addresses of clients are neither logged nor used, so no proxy's word is needed for them.
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_s),
        backlog=2048,
    )
