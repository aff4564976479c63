"""``python -m deploy.embedded`` on ports of its own: everything that ``make run`` starts, and a way to end it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.jobs.embedded import EmbeddedValkey
from tests.fixtures.servers import ROOT, Reply, request

SERVICES = ("classifier_service", "segmenter_service", "gateway")
_PORTS = ("FALX_PORT", "FALX_CLASSIFIER_PORT", "FALX_SEGMENTER_PORT", "FALX_WORKER_PORT")
_READY = "Ctrl-C stops everything."


@dataclass
class Embedded:
    """The supervisor, which has said that everything is ready."""

    process: subprocess.Popen[bytes]
    base_url: str
    port: int
    data: Path
    output: Path
    limit_s: float

    def wait_until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true answer of ``condition`` while the supervisor lives."""
        deadline = time.monotonic() + self.limit_s
        while not (answer := condition()):
            assert time.monotonic() < deadline, f"{what} does not come\n{self.output.read_text()}"
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.1)
        return answer

    def wait_for(self, text: str) -> None:
        """Until it has said ``text``."""
        self.wait_until(lambda: text in self.output.read_text(), repr(text))

    def services(self) -> dict[str, psutil.Process]:
        """The service processes by the name of their package; the worker for volumes is ``worker``."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            command = child.cmdline()
            for name in SERVICES:
                if name in command:
                    found["worker" if "worker" in command else name] = child
        return found

    def descendants(self) -> list[psutil.Process]:
        """Every process that it has started, and the queue's server, which has left the family."""
        valkey = EmbeddedValkey(self.data / "queue").pid()
        family = psutil.Process(self.process.pid).children(recursive=True)
        return family if valkey is None else [*family, psutil.Process(valkey)]

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request to the gateway."""
        return request(self.base_url, method, path, body, headers, timeout_s=60.0)


@contextmanager
def embedded(models: Path, folder: Path, *, limit_s: float = 100.0) -> Iterator[Embedded]:
    """Start it over ``models`` with its data and output in ``folder``; whatever happens, nobody is left afterwards."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in _PORTS]
        ports = {name: listener.getsockname()[1] for name, listener in zip(_PORTS, listeners, strict=True)}
    environment = {
        **os.environ,
        **{name: str(port) for name, port in ports.items()},
        "FALX_MODELS_DIR": str(models),
        "FALX_DATA_DIR": str(folder / "data"),
        "FALX_START_TIMEOUT_S": str(limit_s),
    }
    output = folder / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.embedded"], cwd=ROOT, env=environment, stdout=stream, stderr=stream
        )
    port = ports["FALX_PORT"]
    one = Embedded(process, f"http://127.0.0.1:{port}", port, folder / "data", output, limit_s)
    started: list[psutil.Process] = []
    try:
        one.wait_for(_READY)
        started = one.descendants()
        yield one
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for left in psutil.wait_procs(started, timeout=30)[1]:
            left.kill()
