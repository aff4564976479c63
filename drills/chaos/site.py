"""The real processes: a gateway, two workers, a Valkey with its keeper. Each can be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil

from core.jobs.embedded import EmbeddedValkey
from deploy.queue_server import QueueServer
from drills.chaos.bundle import write_trapped_bundle
from tests.fixtures.servers import ROOT, Reply, free_port, request

LEASE_S: Final = 4.0
MAX_ATTEMPTS: Final = 4
# Fewer than there are jobs: callers are sent away and come again, until the end.
MAX_QUEUED: Final = 16
START_LIMIT_S: Final = 300.0


@dataclass
class Service:
    """One process, killed and started again from outside. ``faults`` has each end that nobody asked for."""

    name: str
    module: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    # Its end is the end of whoever started the service, which then stops by itself.
    lifeline: int
    process: subprocess.Popen[bytes] | None = None
    faults: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start it; what it logs comes after what was logged before."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.module],
                cwd=ROOT,
                env={**self.environment, "FALX_PARENT_FD": str(self.lifeline)},
                pass_fds=(self.lifeline,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """End it with SIGKILL and reap it."""
        self.look()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def look(self) -> None:
        """Note it where the process has ended by itself."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.faults.append(f"the {self.name} ended by itself, code {code}; its log: {self.log}")
            self.process = None

    def busy(self) -> bool:
        """Whether it is a worker with a job's process under it."""
        try:
            children = psutil.Process(self.process.pid).children() if self.process is not None else []
            return any("core.jobs.child" in child.cmdline() for child in children)
        except psutil.Error:
            return False

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it has logged, oldest first."""
        for line in self.log.read_text(errors="replace").splitlines() if self.log.exists() else ():
            # The last line of a killed process may be half a one.
            with suppress(ValueError):
                if isinstance(entry := json.loads(line), dict):
                    yield entry

    def job(self) -> str | None:
        """The job that it works on, by its log."""
        last = None
        for line in self.lines():
            if line.get("event") in ("job started", "job ended"):
                last = line["job_id"] if line["event"] == "job started" else None
        return last


@dataclass
class Site:
    """Everything that serves volumes here. Blobs and queue lie on a disk of their own where ``small_disk``."""

    folder: Path
    redis_url: str
    gateway: Service
    workers: tuple[Service, ...]
    valkey: EmbeddedValkey
    base_url: str
    small_disk: bool
    # Nobody is to be started any more.
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def blobs(self) -> Path:
        """The folder of the store."""
        return self.folder / "disk" / "blobs"

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> Reply:
        """One request on a connection of its own. Raises ``OSError`` or ``HTTPException`` where no answer comes."""
        return request(self.base_url, method, path, body, headers, timeout_s)

    def kill_valkey(self) -> None:
        """SIGKILL; its keeper sees to the rest."""
        if (pid := self.valkey.pid()) is not None:
            os.kill(pid, signal.SIGKILL)

    def faults(self) -> list[str]:
        """Processes that ended by themselves."""
        services = (self.gateway, *self.workers)
        for service in services:
            service.look()
        return [fault for service in services for fault in service.faults]

    def cancelled_at(self, job_id: str) -> float | None:
        """When a worker had the process of a cancelled job ended: seconds of the epoch."""
        for worker in self.workers:
            for line in worker.lines():
                if line.get("event") == "job ended" and line["job_id"] == job_id and line["verdict"] == "Withdrawn":
                    return datetime.fromisoformat(line["timestamp"]).timestamp()
        return None


@contextmanager
def open_site(folder: Path, *, small_disk: bool) -> Iterator[Site]:
    """Start all of it and wait until it serves; all is gone afterwards. ``folder``/disk may be a file system."""
    models = write_trapped_bundle(folder / "models")
    (folder / "disk").mkdir(exist_ok=True)
    with ExitStack() as stack:
        queue = QueueServer(folder / "disk" / "queue")
        redis_url = queue.start()
        stack.callback(queue.stop)
        lifeline, held = os.pipe()
        stack.callback(os.close, lifeline)
        stack.callback(os.close, held)
        port = free_port()
        site = Site(
            folder,
            redis_url,
            Service(
                "gateway", ("gateway",), _environment(folder, redis_url, models, port), folder / "gateway.log", lifeline
            ),
            tuple(
                Service(
                    f"worker {number}",
                    ("segmenter_service", "worker"),
                    _environment(folder, redis_url, models, free_port()),
                    folder / f"worker-{number}.log",
                    lifeline,
                )
                for number in (1, 2)
            ),
            EmbeddedValkey(folder / "disk" / "queue"),
            f"http://127.0.0.1:{port}",
            small_disk,
        )
        for service in (site.gateway, *site.workers):
            stack.callback(service.kill)
            service.start()
        stack.callback(site.closed.set)
        _wait_until_served(site)
        yield site


def _environment(folder: Path, redis_url: str, models: Path, port: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FALX_")}
    closed = f"http://127.0.0.1:{free_port()}"
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "FALX_PORT": str(port),
        "FALX_REDIS_URL": redis_url,
        "FALX_BLOBS_URL": str(folder / "disk" / "blobs"),
        # Off, so that it is the kernel that says when the disk is full.
        "FALX_BLOBS_MIN_FREE_BYTES": "0",
        "FALX_MODELS_DIR": str(models),
        "FALX_CLASSIFIER_URL": closed,
        "FALX_SEGMENTER_URL": closed,
        "FALX_MAX_QUEUED_JOBS": str(MAX_QUEUED),
        "FALX_EXPECTED_RUN_S": "2",
        "FALX_JOB_LEASE_S": str(LEASE_S),
        "FALX_JOB_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
        "FALX_JOB_RETRY_DELAY_S": "0.5",
    }


def _wait_until_served(site: Site) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while True:
        if faults := site.faults():
            raise RuntimeError("; ".join(faults))
        try:
            if site.ask("GET", "/v1/jobs").status == 200:
                return
        except OSError:
            pass
        if time.monotonic() > end_s:
            raise RuntimeError(f"the gateway does not serve after {START_LIMIT_S:g} s; its log: {site.gateway.log}")
        time.sleep(0.1)
