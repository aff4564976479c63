"""Results as DICOM from the upload of a study to their erasure, with a real gateway, queue, store and worker.

Names of a patient are planted in the study, and must be in these results and nowhere else.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from tests.fixtures.answers import in_multipart
from tests.fixtures.servers import Server
from tests.fixtures.volume_models import make_phantom
from tests.fixtures.volumes import make_affine, make_series, nibabel, to_nifti, to_zip
from tests.support.dicom_results import OBJECTS, SEGMENTATION, by_highdicom, opened
from tests.support.volume_site import Site

SHAPE = (31, 27, 25)
LIMIT_S = 400.0
PLANTED = {
    "PatientName": "PLANTED^NAME", "PatientID": "PLANTED-ID", "PatientBirthDate": "19010203", "StudyID": "PLANTED-SID",
    "AccessionNumber": "PLANTED-ACC", "ReferringPhysicianName": "PLANTED^REF", "StudyDescription": "PLANTED-DESC",
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Server, Path]]:
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        site = Site(stack, folder)
        yield site, site.start_worker(), folder


def sent(site: Site, parts: dict[str, bytes]) -> Any:
    body, headers = in_multipart({"job": json.dumps({"outputs": ["dicom"]}).encode(), **parts})
    return site.gateway.request("POST", "/v1/jobs", body, headers, timeout_s=LIMIT_S)


def ended(site: Site, job: str) -> bytes:
    end_s = time.monotonic() + LIMIT_S
    while True:
        body = site.gateway.request("GET", f"/v1/jobs/{job}", timeout_s=LIMIT_S).body
        if json.loads(body)["status"] in {"succeeded", "failed"}:
            return body
        assert time.monotonic() < end_s
        time.sleep(0.2)


def kept_in(url: str) -> bytes:
    """All that the queue holds."""
    with redis.Redis.from_url(url) as client:
        return b"".join(client.dump(key) or b"" for key in client.scan_iter())


def planted(data: bytes) -> list[str]:
    return [value for value in PLANTED.values() if value.encode() in data]


def test_names_are_in_the_results_and_nowhere_else(site: tuple[Site, Server, Path]) -> None:
    served, worker, folder = site
    volume, labels = make_phantom(SHAPE, make_affine("LPS", (1.0, 1.0, 1.5), SHAPE, 15))
    study = to_zip(make_series(volume, description="flair", elements=PLANTED)).getvalue()
    reply = sent(served, {"dicom": study})
    assert reply.status == 202, reply.body
    job = reply.json()["id"]
    record = ended(served, job)
    results = {result["name"]: result for result in json.loads(record)["results"]}
    files = {name: served.gateway.request("GET", result["href"]).body for name, result in results.items()}
    assert {results[name]["media_type"] for name in OBJECTS} == {"application/dicom"}
    for name in OBJECTS:
        assert {keyword: str(opened(files[name])[keyword].value) for keyword in PLANTED} == PLANTED
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(files["segmentation.nii.gz"]))
    assert np.array_equal(np.asarray(image.dataobj), labels)
    assert np.array_equal(by_highdicom(files[SEGMENTATION], SHAPE, image.affine), labels)

    listed = served.gateway.request("GET", f"/v1/jobs/{job}/results").body
    events = served.gateway.request("GET", "/v1/jobs").body
    others = [data for name, data in files.items() if name not in OBJECTS]
    unpacked = [gzip.decompress(data) for data in others if data.startswith(b"\x1f\x8b")]
    logs = [served.gateway.log.encode(), worker.log.encode()]
    metrics = served.gateway.request("GET", "/metrics").body
    places = [record, listed, events, metrics, kept_in(served.env["FALX_REDIS_URL"]), *others, *unpacked, *logs]
    assert [planted(place) for place in places] == [[]] * len(places)
    assert job.encode() in places[4]
    assert job in worker.log

    assert served.gateway.request("DELETE", f"/v1/jobs/{job}").status == 204
    assert served.gateway.request("GET", results[SEGMENTATION]["href"]).status == 410
    assert [path for path, _, names in os.walk(folder / "blobs") if names and job in path] == []


def test_results_as_dicom_of_nifti_files_are_refused_at_the_door(site: tuple[Site, Server, Path]) -> None:
    volume, _ = make_phantom(SHAPE)
    reply = sent(site[0], {"flair": to_nifti(volume.voxels, volume.affine, compress=True)})
    problem = reply.json()
    assert (reply.status, problem["code"]) == (400, "invalid-request")
    assert problem["errors"] == [
        {
            "pointer": "part/job#/outputs",
            "detail": "The output dicom goes with the part dicom only: NIfTI files name no study.",
        }
    ]
