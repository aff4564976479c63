"""The embedded default with a model for volumes: one volume over HTTP, and nobody left behind."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from core.jobs.embedded import EmbeddedValkey
from tests.fixtures.models import CARD
from tests.fixtures.volume_models import make_phantom, write_volume_bundle
from tests.fixtures.volumes import make_affine, nibabel, to_nifti

ROOT = Path(__file__).resolve().parents[2]
PORTS = ("FALX_PORT", "FALX_CLASSIFIER_PORT", "FALX_SEGMENTER_PORT", "FALX_WORKER_PORT")
# Five processes that import numerical libraries, on a machine that may be busy.
LIMIT_S = 500.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + LIMIT_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return answer


@dataclass
class Embedded:
    """``python -m deploy.embedded`` with its data in ``folder``."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    output: Path

    def descendants(self) -> list[psutil.Process]:
        """Every process that it has started, and the queue's server, which has left the family."""
        valkey = EmbeddedValkey(self.folder / "queue").pid()
        assert valkey is not None
        return [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(valkey)]

    def ask(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of one request."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=data,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def submit(self, parts: dict[str, bytes]) -> dict[str, Any]:
        """A new job."""
        boundary = uuid.uuid4().hex
        body = b"".join(
            b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="x"\r\n\r\n%b\r\n'
            % (boundary.encode(), name.encode(), data)
            for name, data in parts.items()
        )
        status, answer = self.ask(
            "/v1/jobs", body + f"--{boundary}--\r\n".encode(), Content_Type=f"multipart/form-data; boundary={boundary}"
        )
        assert status == 202, answer
        job: dict[str, Any] = json.loads(answer)
        return job

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended."""

        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = json.loads(self.ask(f"/v1/jobs/{job_id}")[1])
            return job if job["status"] in {"succeeded", "failed", "cancelled"} else None

        ended: dict[str, Any] = wait_for(look, "a job that has ended")
        return ended


@pytest.fixture
def embedded(tiny_models: Path, tmp_path: Path) -> Iterator[Embedded]:
    models = tmp_path / "models"
    shutil.copytree(tiny_models, models)
    write_volume_bundle(models)
    (models / "tumor-volume" / "1" / "CARD.md").write_text(CARD, encoding="utf-8")
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    environment = {
        **os.environ,
        **{name: str(port) for name, port in zip(PORTS, ports, strict=True)},
        "FALX_MODELS_DIR": str(models),
        "FALX_DATA_DIR": str(tmp_path / "data"),
        "FALX_START_TIMEOUT_S": str(LIMIT_S),
    }
    output = tmp_path / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.embedded"], cwd=ROOT, env=environment, stdout=stream, stderr=stream
        )
    started: list[psutil.Process] = []
    try:
        wait_for(lambda: "Ctrl-C stops everything." in output.read_text() or process.poll() is not None, "a start")
        assert process.poll() is None, output.read_text()
        embedded = Embedded(process, ports[0], tmp_path / "data", output)
        started = embedded.descendants()
        yield embedded
    finally:
        process.kill()
        process.wait()
        for one in psutil.wait_procs(started, timeout=30)[1]:
            one.kill()


def test_a_volume_comes_back_labelled_and_ctrl_c_ends_all(embedded: Embedded) -> None:
    shape = (31, 27, 25)
    volume, labels = make_phantom(shape, make_affine("LPS", (1.0, 1.0, 1.5), shape, 15))
    data = to_nifti(volume.voxels, volume.affine, compress=True)
    job = embedded.submit({"flair": data, "t1ce": data})
    ended = embedded.ended(job["id"])
    assert ended["status"] == "succeeded", ended
    names = {result["name"]: result["href"] for result in ended["results"]}
    assert {"segmentation.nii.gz", "report.json", "axial.png", "coronal.png", "sagittal.png"} <= set(names)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(embedded.ask(names["segmentation.nii.gz"])[1]))
    assert np.array_equal(np.asarray(image.dataobj), labels)
    assert embedded.ask(names["axial.png"])[1].startswith(b"\x89PNG")
    models = json.loads(embedded.ask("/v1/models")[1])["models"]
    assert "volume-segmentation" in {model["task"] for model in models}
    assert embedded.ask("/v1/models/tumor-volume/card") == (200, CARD.encode())
    started = embedded.descendants()
    embedded.process.send_signal(signal.SIGINT)
    assert embedded.process.wait(LIMIT_S) == 0, embedded.output.read_text()
    assert [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


def test_a_killed_supervisor_leaves_neither_worker_nor_queue(embedded: Embedded) -> None:
    started = embedded.descendants()
    # Supervised: classifier, segmenter, worker, gateway; beside them the queue's server and its keeper.
    assert len(started) >= 6
    embedded.process.kill()
    embedded.process.wait()
    _, alive = psutil.wait_procs(started, timeout=120)
    assert alive == []
