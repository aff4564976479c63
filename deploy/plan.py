"""What the embedded default runs: its settings, the services and the ports that they need."""

from __future__ import annotations

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


class EmbeddedSettings(BaseSettings):
    """Settings of ``make run``, read from ``FALX_*`` variables.

    ``host`` concerns the gateway alone: the model servers never leave loopback. Times are seconds.
    """

    model_config = SettingsConfigDict(env_prefix="FALX_", frozen=True, extra="ignore")

    host: str = LOOPBACK
    port: int = Field(default=8000, ge=1, le=65535)
    classifier_port: int = Field(default=8001, ge=1, le=65535)
    segmenter_port: int = Field(default=8002, ge=1, le=65535)
    data_dir: Path = Path(".falx")
    start_timeout_s: float = Field(default=180.0, gt=0)
    # Longer than any deadline that the gateway grants by default, so that draining normally ends by itself.
    drain_timeout_s: float = Field(default=60.0, gt=0)

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"


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


def plan(settings: EmbeddedSettings) -> tuple[Tier, Tier]:
    """Return the model servers and the gateway: started together, stopped from the last tier to the first."""
    classifier = _service("classifier", "classifier_service", settings.classifier_port, "FALX_CLASSIFIER_PORT")
    segmenter = _service("segmenter", "segmenter_service", settings.segmenter_port, "FALX_SEGMENTER_PORT")
    upstreams = {"FALX_CLASSIFIER_URL": classifier.url, "FALX_SEGMENTER_URL": segmenter.url}
    gateway = _service("gateway", "gateway", settings.port, "FALX_PORT", settings.host, upstreams)
    return (classifier, segmenter), (gateway,)


def _service(
    name: str,
    package: str,
    port: int,
    port_variable: str,
    host: str = LOOPBACK,
    extra: Mapping[str, str] | None = None,
) -> Service:
    environment = {**os.environ, **(extra or {}), "FALX_HOST": host, "FALX_PORT": str(port)}
    return Service(name, (sys.executable, "-m", package), port, port_variable, host, environment)


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
