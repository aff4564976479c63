"""The embedded default with a model for volumes: one volume over HTTP, and nobody left behind."""

from __future__ import annotations

import gzip
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from redis import Redis

from tests.fixtures.answers import in_multipart
from tests.fixtures.models import CARD
from tests.fixtures.volume_models import make_phantom, write_volume_bundle
from tests.fixtures.volumes import make_affine, nibabel, to_nifti
from tests.support.embedded import Embedded
from tests.support.embedded import embedded as running_embedded

# Five processes that import numerical libraries, on a machine that may be busy.
LIMIT_S = 500.0
# Commands a second that the queue's server may get while nobody wants anything, and for how long they are counted. What
# is asked every ten seconds may fall into the time once more.
IDLE_COMMANDS = 5
IDLE_S = 20.0
ONCE_MORE = 12

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def ended(embedded: Embedded, parts: dict[str, bytes]) -> dict[str, Any]:
    """A new job of those parts, once it has ended."""
    body, headers = in_multipart(parts)
    reply = embedded.ask("POST", "/v1/jobs", body, headers)
    assert reply.status == 202, reply.body
    job_id = reply.json()["id"]

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = embedded.ask("GET", f"/v1/jobs/{job_id}").json()
        return job if job["status"] in {"succeeded", "failed", "cancelled"} else None

    job: dict[str, Any] = embedded.wait_until(look, "a job that has ended")
    return job


@pytest.fixture
def embedded(tiny_models: Path, tmp_path: Path) -> Iterator[Embedded]:
    models = tmp_path / "models"
    shutil.copytree(tiny_models, models)
    write_volume_bundle(models)
    (models / "tumor-volume" / "1" / "CARD.md").write_text(CARD, encoding="utf-8")
    with running_embedded(models, tmp_path, limit_s=LIMIT_S) as one:
        yield one


def test_a_volume_comes_back_labelled_and_ctrl_c_ends_all(embedded: Embedded) -> None:
    shape = (31, 27, 25)
    volume, labels = make_phantom(shape, make_affine("LPS", (1.0, 1.0, 1.5), shape, 15))
    data = to_nifti(volume.voxels, volume.affine, compress=True)
    job = ended(embedded, {"flair": data, "t1ce": data})
    assert job["status"] == "succeeded", job
    names = {result["name"]: result["href"] for result in job["results"]}
    assert {"segmentation.nii.gz", "report.json", "axial.png", "coronal.png", "sagittal.png"} <= set(names)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(embedded.ask("GET", names["segmentation.nii.gz"]).body))
    assert np.array_equal(np.asarray(image.dataobj), labels)
    assert embedded.ask("GET", names["axial.png"]).body.startswith(b"\x89PNG")
    models = embedded.ask("GET", "/v1/models").json()["models"]
    assert "volume-segmentation" in {model["task"] for model in models}
    card = embedded.ask("GET", "/v1/models/tumor-volume/card")
    assert (card.status, card.body) == (200, CARD.encode())
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


def commands(server: Redis) -> int:
    """How many commands the server has got so far but for those that ask this."""
    counted: dict[str, dict[str, int]] = server.info("commandstats")
    return sum(one["calls"] for name, one in counted.items() if name not in {"cmdstat_info", "cmdstat_client|setinfo"})


def test_an_idle_stack_asks_little_of_the_queue(embedded: Embedded) -> None:
    with Redis(unix_socket_path=str(embedded.data / "queue" / "valkey.sock")) as server:
        # What every process does once, at its start, is over by then.
        time.sleep(IDLE_S / 4)
        before, began = commands(server), time.monotonic()
        time.sleep(IDLE_S)
        asked, seconds = commands(server) - before, time.monotonic() - began
    assert IDLE_S / 10 < asked <= IDLE_COMMANDS * seconds + ONCE_MORE
