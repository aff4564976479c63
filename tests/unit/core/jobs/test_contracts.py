"""Records and what callers read of them."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from core.contracts.jobs import STATUSES, TERMINAL, TRANSITIONS, JobRecord, JobRequest, StoredFile
from core.jobs.store import ended, now

FILE = StoredFile(name="report.json", media_type="application/json", size=2, sha256="0" * 64, blob="jobs/a/report.json")


def record(**fields: object) -> JobRecord:
    return JobRecord.model_validate({"id": "0" * 32, "request": JobRequest(), "created_at": now(), **fields})


def test_a_record_survives_its_json_and_names_its_schema() -> None:
    before = record(inputs=(FILE,), measurements={"volume_ml": 1.5, "centroid_mm": None, "slices": [1, 2]})
    raw = before.model_dump_json()
    assert json.loads(raw)["schema_version"] == 1
    assert JobRecord.model_validate_json(raw) == before


def test_a_record_of_another_schema_is_not_read() -> None:
    with pytest.raises(ValidationError):
        JobRecord.model_validate_json(record().model_dump_json().replace('"schema_version":1', '"schema_version":2'))


def test_nothing_leads_out_of_an_end() -> None:
    assert set(TRANSITIONS) == set(STATUSES)
    assert all(not TRANSITIONS[status] for status in TERMINAL)
    assert all(TRANSITIONS[status] for status in set(STATUSES) - TERMINAL)


def test_callers_learn_names_and_addresses_but_no_blobs() -> None:
    job = ended(record(inputs=(FILE,), results=(FILE,), claimed_by="x"), "succeeded", 60).public()
    assert job.results[0].href == f"/v1/jobs/{'0' * 32}/results/report.json"
    text = job.model_dump_json()
    assert "jobs/a/" not in text
    assert "claimed_by" not in text
    assert job.finished_at is not None
    assert job.expires_at is not None
    assert (job.expires_at - job.finished_at).total_seconds() == 60


def test_only_a_queued_job_has_a_position() -> None:
    assert record().public(3).queue_position == 3
    assert record(status="running").public(3).queue_position is None


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "", "a" * 200])
def test_file_names_are_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        StoredFile.model_validate({**FILE.model_dump(), "name": name})


@pytest.mark.parametrize("blob", ["/x", "jobs/../x", "jobs//x", "jobs/.x"])
def test_blob_names_are_plain(blob: str) -> None:
    with pytest.raises(ValidationError):
        StoredFile.model_validate({**FILE.model_dump(), "blob": blob})
