"""A real gateway, Valkey, store and workers for the tests of the volumes routes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from core.jobs.embedded import EmbeddedValkey
from tests.fixtures.answers import BOUNDARY, in_multipart
from tests.fixtures.servers import ROOT, Reply, Server
from tests.fixtures.volumes import to_nifti
from tests.support.gateway import gateway_before

JOBS = "/v1/jobs"
TYPES = "segmentation,echo,slow,refuse,segfault"
LEASE_S = 3.0
LIMIT_S = 280.0


def volume(side: int = 16, *, compress: bool = True, seed: int = 0) -> bytes:
    """A small sound NIfTI file."""
    noise = np.random.default_rng(seed).integers(0, 1000, (side, side, side), dtype=np.int16)
    return to_nifti(noise, compress=compress)


def body(job: Mapping[str, Any] | None = None, **parts: bytes) -> tuple[bytes, dict[str, str]]:
    """A multipart body, the part ``job`` first, and its header."""
    described = {} if job is None else {"job": json.dumps(job).encode()}
    return in_multipart({**described, **parts})


@dataclass
class Volumes:
    """What serves volumes, and how to ask it."""

    folder: Path
    valkey: EmbeddedValkey
    environment: dict[str, str]
    gateway: Server
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def blobs(self) -> Path:
        """The folder of the store."""
        return self.folder / "blobs"

    def files(self) -> list[Path]:
        """Everything in the store, half-written files included."""
        return [path for path in self.blobs.rglob("*") if path.is_file()]

    def submit(self, kind: str = "segmentation", headers: Mapping[str, str] | None = None, **parts: bytes) -> Reply:
        """Send a job; one small volume unless ``parts`` are given."""
        data, content_type = body({"type": kind}, **(parts or {"flair": volume()}))
        return self.ask("POST", JOBS, data, {**content_type, **(headers or {})})

    def ask(self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request."""
        return self.gateway.request(method, path, data, headers, timeout_s=LIMIT_S)

    def reached(self, job_id: str, *statuses: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The job once it has one of ``statuses``."""
        end_s = time.monotonic() + LIMIT_S
        while True:
            job: dict[str, Any] = self.ask("GET", f"{JOBS}/{job_id}", headers=headers).json()
            if job["status"] in statuses:
                return job
            assert time.monotonic() < end_s, f"still {job['status']}"
            time.sleep(0.1)

    def start_worker(self) -> None:
        """One more worker, ended with the test."""
        with (self.folder / f"worker-{len(self.workers)}.log").open("wb") as log:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.support.gateway_jobs_worker"],
                    cwd=ROOT,
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def stop_workers(self) -> None:
        """End them all."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.workers.clear()

    @contextmanager
    def another_gateway(self, upstream: str, **settings: str) -> Iterator[Server]:
        """One more gateway on the same queue and store."""
        with gateway_before(upstream, env={**self.environment, **settings}) as server:
            yield server


@contextmanager
def volumes(folder: Path, upstream: str, **settings: str) -> Iterator[Volumes]:
    """A gateway with a queue and a store of its own and no worker yet; all are gone afterwards."""
    with ExitStack() as stack:
        valkey = EmbeddedValkey(folder / "valkey")
        environment = {
            "FALX_REDIS_URL": valkey.start(),
            "FALX_BLOBS_URL": str(folder / "blobs"),
            "FALX_BLOBS_MIN_FREE_BYTES": "0",
            "JOBS_TEST_FOLDER": str(folder),
            "FALX_JOB_TYPES": TYPES,
            "FALX_JOB_LEASE_S": str(LEASE_S),
            "FALX_JOB_RETRY_DELAY_S": "0.1",
            "FALX_REDIS_TIMEOUT_S": "20",
            **settings,
        }
        stack.callback(valkey.stop)
        gateway = stack.enter_context(gateway_before(upstream, env=environment))
        served = Volumes(folder, valkey, environment, gateway)
        stack.callback(served.stop_workers)
        yield served


def digest(data: bytes) -> str:
    """Its sha256 in hexadecimal digits."""
    return sha256(data).hexdigest()


def unfinished(data: bytes, length: int) -> bytes:
    """The head and the beginning of a request whose multipart body is ``length`` bytes longer than ``data``."""
    head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    return head.encode() + f"Content-Length: {len(data) + length}\r\n\r\n".encode() + data
