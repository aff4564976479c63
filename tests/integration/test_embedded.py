"""The embedded default with the real services and tiny real models: first answer, drain, crash, SIGKILL."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from deploy.embedded import SAMPLE
from tests.fixtures.servers import ROOT
from tests.support.embedded import SERVICES, Embedded
from tests.support.embedded import embedded as running_embedded

pytestmark = pytest.mark.slow


@pytest.fixture
def embedded(tiny_models: Path, tmp_path: Path) -> Iterator[Embedded]:
    with running_embedded(tiny_models, tmp_path) as one:
        yield one


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
    embedded.wait_until(lambda: embedded.output.read_text().count("classifier ready after") >= 2, "a second start")
    image = (ROOT / SAMPLE).read_bytes()
    assert embedded.ask("POST", "/v1/classifications", image, {"Content-Type": "image/jpeg"}).json()["label"]
