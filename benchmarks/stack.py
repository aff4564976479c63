"""The processes under test: a model server and a gateway in front of it, started as a user starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running service and how to reach it."""

    url: str
    process: psutil.Popen

    def cpu_s(self) -> float:
        """User and system CPU seconds of the process so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a GET of ``url`` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback http only
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def started(
    module: str, environment: Mapping[str, str], ready: str = "/readyz", folder: Path | None = None
) -> Iterator[Server]:
    """Runs ``python -m module`` of this checkout, or that in ``folder``, on a free port until the block ends.

    Raises:
        RuntimeError: the process ended or was not ready within ``START_LIMIT_S``.
    """
    port = free_port()
    settings = {**os.environ, "FALX_HOST": "127.0.0.1", "FALX_PORT": str(port), "FALX_LOG_LEVEL": "warning"}
    # What the gateway audits goes to its output, a line for each request.
    command = [sys.executable, "-m", module]
    process = psutil.Popen(command, cwd=folder, env={**settings, **environment}, stdout=subprocess.DEVNULL)
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        give_up_at = time.monotonic() + START_LIMIT_S
        while not answers(server.url + ready):
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"{module} did not become ready")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            process.kill()


@contextmanager
def stack(
    models_dir: Path, model: str, precision: str, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Server, Server]]:
    """A classifier of one ``model`` and a gateway over it, alive but not ready: no segmenter is needed here.

    ``settings`` are further ones of the classifier.
    """
    chosen = {"FALX_MODELS_DIR": str(models_dir), "FALX_MODELS": model, "FALX_PRECISION": precision}
    with started("classifier_service", {**chosen, **(settings or {})}) as model_server:
        upstreams = {"FALX_CLASSIFIER_URL": model_server.url, "FALX_SEGMENTER_URL": model_server.url}
        with started("gateway", upstreams, ready="/livez") as gateway:
            yield model_server, gateway
