"""The embedded default with the real services and tiny real models: first answer, drain, crash, SIGKILL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from deploy.embedded import SAMPLE

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("classifier_service", "segmenter_service", "gateway")

pytestmark = pytest.mark.slow


@dataclass
class Embedded:
    """``python -m deploy.embedded`` on ports of its own."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path

    def wait_for(self, text: str, timeout_s: float = 100.0) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.output.read_text():
            assert time.monotonic() < deadline, self.output.read_text()
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.1)

    def services(self) -> dict[str, psutil.Process]:
        """The service processes by the name of their package."""
        children = psutil.Process(self.process.pid).children()
        return {name: child for child in children for name in SERVICES if name in child.cmdline()}

    def classify(self) -> dict[str, object]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/classifications",
            data=(ROOT / SAMPLE).read_bytes(),
            headers={"Content-Type": "image/jpeg"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, object] = json.load(response)
        return answer


@pytest.fixture
def embedded(tiny_models: Path, tmp_path: Path) -> Iterator[Embedded]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    names = ("FALX_PORT", "FALX_CLASSIFIER_PORT", "FALX_SEGMENTER_PORT")
    environment = {
        **os.environ,
        **{name: str(port) for name, port in zip(names, ports, strict=True)},
        "FALX_MODELS_DIR": str(tiny_models),
        "FALX_DATA_DIR": str(tmp_path / "data"),
    }
    output = tmp_path / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.embedded"], cwd=ROOT, env=environment, stdout=stream, stderr=stream
        )
    embedded = Embedded(process, ports[0], output)
    embedded.wait_for("Ctrl-C stops everything.")
    started = list(embedded.services().values())
    yield embedded
    if process.poll() is None:
        process.kill()
        process.wait()
    for one in psutil.wait_procs(started, timeout=10)[1]:
        one.kill()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_printed_curl_line_works_and_ctrl_c_ends_all_with_0(embedded: Embedded) -> None:
    (line,) = [line for line in embedded.output.read_text().splitlines() if line.startswith("  curl ")]
    run = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert "probabilities" in json.loads(run.stdout)
    services = embedded.services()
    assert set(services) == set(SERVICES)
    embedded.process.send_signal(signal.SIGINT)
    assert embedded.process.wait(60) == 0
    assert not any(one.is_running() for one in services.values())


def test_a_request_in_flight_is_answered_when_everything_is_told_to_stop(embedded: Embedded) -> None:
    image = (ROOT / SAMPLE).read_bytes()
    connection = HTTPConnection("127.0.0.1", embedded.port, timeout=30)
    connection.putrequest("POST", "/v1/classifications")
    connection.putheader("Content-Type", "image/jpeg")
    connection.putheader("Content-Length", str(len(image)))
    connection.endheaders()
    connection.send(image[:1000])
    time.sleep(0.5)  # the gateway has begun to read the body
    embedded.process.send_signal(signal.SIGTERM)
    embedded.wait_for("draining gateway")
    time.sleep(0.5)
    connection.send(image[1000:])
    response = connection.getresponse()
    assert response.status == 200, response.read()
    response.read()
    connection.close()
    assert embedded.process.wait(60) == 0


def test_a_killed_supervisor_leaves_nobody_serving(embedded: Embedded) -> None:
    services = list(embedded.services().values())
    embedded.process.kill()
    embedded.process.wait()
    _, alive = psutil.wait_procs(services, timeout=20)
    assert alive == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", embedded.port), timeout=5)


def test_a_killed_model_server_comes_back(embedded: Embedded) -> None:
    embedded.services()["classifier_service"].kill()
    embedded.wait_for("classifier was killed by SIGKILL; starting it again in 1 s")
    deadline = time.monotonic() + 60
    while embedded.output.read_text().count("classifier ready after") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert embedded.classify()["label"]
