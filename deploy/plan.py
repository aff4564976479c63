"""What the embedded default runs: its settings, the services and the ports that they need."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK = "127.0.0.1"
VOLUME_TASK = "volume-segmentation"


class EmbeddedSettings(BaseSettings):
    """Settings of ``make run``, read from ``FALX_*`` variables.

    ``host`` concerns the gateway alone: the model servers never leave loopback. Times are seconds.
    """

    model_config = SettingsConfigDict(env_prefix="FALX_", env_ignore_empty=True, frozen=True, extra="ignore")

    host: str = LOOPBACK
    port: int = Field(default=8000, ge=1, le=65535)
    classifier_port: int = Field(default=8001, ge=1, le=65535)
    segmenter_port: int = Field(default=8002, ge=1, le=65535)
    worker_port: int = Field(default=8003, ge=1, le=65535)
    data_dir: Path = Path(".falx")
    start_timeout_s: float = Field(default=180.0, gt=0)
    # Longer than any deadline that the gateway grants by default, so that draining normally ends by itself.
    drain_timeout_s: float = Field(default=60.0, gt=0)
    models_dir: Path = Path("models")
    redis_url: str | None = Field(default=None, min_length=1)
    blobs_url: str | None = Field(default=None, min_length=1)

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"

    @property
    def queue_dir(self) -> Path:
        return self.data_dir / "queue"


@dataclass(frozen=True, slots=True)
class Service:
    """One child process: how it is started, and the address on which it answers ``/readyz``."""

    name: str
    command: tuple[str, ...]
    port: int
    port_variable: str
    host: str = LOOPBACK
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def probe_host(self) -> str:
        """Where this machine reaches the service: a wildcard address is asked on loopback."""
        return LOOPBACK if self.host in {"", "0.0.0.0", "::"} else self.host

    @property
    def url(self) -> str:
        return f"http://{self.probe_host}:{self.port}"


Tier = tuple[Service, ...]


def plan(settings: EmbeddedSettings, redis_url: str | None = None) -> tuple[Tier, Tier]:
    """Return the model servers and the gateway: started together, stopped from the last tier to the first.

    With the address of a queue, a worker for volumes is among the model servers, and the gateway takes jobs.
    """
    classifier = _service("classifier", "classifier_service", settings.classifier_port, "FALX_CLASSIFIER_PORT")
    segmenter = _service("segmenter", "segmenter_service", settings.segmenter_port, "FALX_SEGMENTER_PORT")
    audit_log = os.environ.get("FALX_AUDIT_LOG") or str((settings.log_dir / "audit.log").absolute())
    upstreams = {
        "FALX_CLASSIFIER_URL": classifier.url,
        "FALX_SEGMENTER_URL": segmenter.url,
        "FALX_AUDIT_LOG": audit_log,
    }
    models: Tier = (classifier, segmenter)
    if redis_url is None:
        # Nobody would do its jobs.
        upstreams["FALX_REDIS_URL"] = ""
    else:
        jobs = _job_variables(settings, redis_url)
        upstreams |= jobs
        models = (*models, _worker(settings, jobs))
    gateway = _service("gateway", "gateway", settings.port, "FALX_PORT", settings.host, upstreams)
    return models, (gateway,)


def _job_variables(settings: EmbeddedSettings, redis_url: str) -> dict[str, str]:
    blobs_url = settings.blobs_url or str((settings.data_dir / "blobs").absolute())
    return {"FALX_REDIS_URL": redis_url, "FALX_BLOBS_URL": blobs_url}


def _worker(settings: EmbeddedSettings, jobs: Mapping[str, str]) -> Service:
    # Whoever stops everything does not want to wait for a volume: its job is handed back, and done at the next start.
    drain_s = os.environ.get("FALX_JOB_DRAIN_S") or f"{settings.drain_timeout_s / 4:g}"
    variables = {**jobs, "FALX_JOB_DRAIN_S": drain_s}
    return _service(
        "worker", "segmenter_service", settings.worker_port, "FALX_WORKER_PORT", extra=variables, arguments=("worker",)
    )


def volumes_fault(settings: EmbeddedSettings) -> str | None:
    """Return why there can be no jobs here whatever queue there is, or None."""
    manifests = settings.models_dir.glob("*/*/manifest.json")
    if not any(_task_of(manifest) == VOLUME_TASK for manifest in manifests):
        return f"{settings.models_dir} holds no model for volumes"
    return None


def _task_of(manifest: Path) -> object:
    # The services judge manifests; here only one word of them is of interest.
    try:
        content = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("task") if isinstance(content, dict) else None


def _service(
    name: str,
    package: str,
    port: int,
    port_variable: str,
    host: str = LOOPBACK,
    extra: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
) -> Service:
    environment = {**os.environ, **(extra or {}), "FALX_HOST": host, "FALX_PORT": str(port)}
    return Service(name, (sys.executable, "-m", package, *arguments), port, port_variable, host, environment)


def port_faults(services: Sequence[Service]) -> list[str]:
    """Return one line per port that cannot be used, naming the variable that changes it."""
    shared = {port for port, uses in Counter(service.port for service in services).items() if uses > 1}
    faults = []
    for service in services:
        reason = "is given to two services" if service.port in shared else _refusal(service.host, service.port)
        if reason:
            faults.append(f"port {service.port} ({service.name}) {reason}: set {service.port_variable} to a free port")
    return faults


def _refusal(host: str, port: int) -> str | None:
    if _answers(LOOPBACK, port):
        return "is taken by another program"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As the servers do: a port in TIME_WAIT after a restart is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except PermissionError:
            return "needs more rights than this user has"
        except OSError as error:
            return f"cannot be used on {host} ({error.strerror})"
    return None


def _answers(host: str, port: int) -> bool:
    """Whether somebody listens: BSD kernels let a second program bind one address of a wildcard listener."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        return client.connect_ex((host, port)) == 0
