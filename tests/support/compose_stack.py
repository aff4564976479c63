"""The composed stack as the tests see it: compose commands, containers by service, their own counters."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
INTERNAL_PORTS = {"classifier": 8001, "segmenter": 8002}
ROUTE = "/v1/classifications"


def compose_command() -> list[str] | None:
    """The compose client of this machine: the plug-in, else the older program, else None."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.25)


@dataclass
class Stack:
    """One compose project with a name and a port of its own."""

    command: list[str]
    engine: docker.DockerClient
    project: str = field(default_factory=lambda: f"falx-e2e-{os.getpid()}")
    port: int = field(default_factory=free_port)
    # Compose files on top of the one that everybody starts.
    overrides: tuple[Path, ...] = ()

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run one compose command; its output is part of the failure when it fails."""
        files = [part for path in ("docker-compose.yml", *self.overrides) for part in ("-f", str(path))]
        environment = {**os.environ, "FALX_PORT": str(self.port), "FALX_TAG": "e2e"}
        run = subprocess.run(
            [*self.command, "-p", self.project, *files, *arguments],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        assert run.returncode == 0 or not check, run.stdout[-8000:]
        return run.stdout

    def scale(self, service: str, replicas: int) -> None:
        """Bring a service to so many healthy replicas."""
        self.compose("up", "-d", "--no-recreate", "--no-deps", "--scale", f"{service}={replicas}", service)
        wait_until(lambda: len(self.healthy(service)) == replicas, f"{replicas} healthy replicas of {service}")

    def containers(self, service: str) -> list[Container]:
        """The running containers of one service."""
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        return list(self.engine.containers.list(filters={"label": labels}))

    def healthy(self, service: str) -> list[Container]:
        return [one for one in self.containers(service) if health(one) == "healthy"]

    def run_in(self, service: str, *command: str) -> tuple[int, str]:
        """Exit code and output of a command inside the first container of a service."""
        result = self.containers(service)[0].exec_run(list(command))
        return int(result.exit_code), bytes(result.output).decode(errors="replace")

    def ways_out(self, service: str) -> list[str]:
        """The networks of a service that lead beyond the stack."""
        names = self.containers(service)[0].attrs["NetworkSettings"]["Networks"]
        return [name for name in names if not self.engine.networks.get(name).attrs["Internal"]]

    def replicas_in_balancer(self, service: str) -> int:
        """How many replicas the balancer sends requests to."""
        script = "exec 3<>/dev/tcp/127.0.0.1/8404; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        _, text = self.run_in("balancer", "bash", "-c", script)
        wanted = f'haproxy_backend_active_servers{{proxy="{service}"}} '
        return next(int(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))

    def answered(self, container: Container, service: str = "classifier") -> int:
        """How many classifications one replica has answered with 200, by its own counter."""
        script = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())"
        url = f"http://127.0.0.1:{INTERNAL_PORTS[service]}/metrics"
        result = container.exec_run(["python", "-c", script, url])
        assert result.exit_code == 0, result.output
        families = text_string_to_metric_families(bytes(result.output).decode())
        samples = (sample for family in families for sample in family.samples if sample.name == "falx_requests_total")
        matching = (one for one in samples if one.labels["route"] == ROUTE and one.labels["status"] == "200")
        return int(sum(one.value for one in matching))

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def health(container: Container) -> str:
    state: dict[str, Any] = container.attrs["State"]
    return str(state.get("Health", {}).get("Status", "none"))
