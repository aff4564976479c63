"""Jobs on the composed stack: scaled workers, a worker killed and the queue restarted, and every volume comes back."""

from __future__ import annotations

import gzip
import http.client
import json
import uuid
from typing import Any

import numpy as np
import pytest

from tests.fixtures.volume_models import make_phantom
from tests.fixtures.volumes import make_affine, nibabel, to_nifti
from tests.support.compose_stack import Stack, wait_until

SHAPE = (31, 27, 25)
JOBS = 6

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(1200)]


def submit(stack: Stack, data: bytes) -> str | None:
    """The id of a new job; None while the queue is away."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="flair"; filename="flair.nii.gz"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
    connection.request("POST", "/v1/jobs", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status in {202, 503}, answer
    return str(answer["id"]) if response.status == 202 else None


def job(stack: Stack, job_id: str) -> dict[str, Any]:
    """The job as it stands; empty while the queue is away."""
    status, body = stack.get(f"/v1/jobs/{job_id}")
    assert status in {200, 503}, body
    found: dict[str, Any] = json.loads(body) if status == 200 else {}
    return found


def test_no_job_is_lost_when_a_worker_is_killed_and_the_queue_restarts(stack: Stack) -> None:
    volume, labels = make_phantom(SHAPE, make_affine("LPS", (1.0, 1.0, 1.5), SHAPE, 15))
    data = to_nifti(volume.voxels, volume.affine, compress=True)
    stack.scale("segmenter-worker", 2)
    ids = [found for _ in range(JOBS) if (found := submit(stack, data)) is not None]
    assert len(ids) == JOBS
    wait_until(lambda: any(job(stack, one)["status"] == "running" for one in ids), "a running job")
    stack.containers("segmenter-worker")[0].kill()
    stack.containers("queue")[0].restart()

    def all_ended() -> bool:
        return all(job(stack, one).get("status") in {"succeeded", "failed", "cancelled"} for one in ids)

    wait_until(all_ended, "the end of every job", 600)
    for one in ids:
        ended = job(stack, one)
        assert ended["status"] == "succeeded", ended
        (href,) = [result["href"] for result in ended["results"] if result["name"] == "segmentation.nii.gz"]
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(stack.get(href)[1]))
        assert np.array_equal(np.asarray(image.dataobj), labels)


def test_the_queue_is_reached_by_gateway_and_workers_alone(stack: Stack) -> None:
    # Whatever was stopped before on this stack.
    stack.scale("classifier", 1)
    stack.scale("segmenter-worker", 1)
    assert stack.ways_out("queue") == []
    assert stack.ways_out("segmenter-worker") == []
    script = "import socket; socket.create_connection(('queue', 6379), 3)"
    assert stack.run_in("classifier", "python", "-c", script)[0] != 0
    assert stack.run_in("gateway", "python", "-c", script)[0] == 0
