"""What a job asks for beyond the usual, and what it hands over held against what callers are told of it."""

from __future__ import annotations

from typing import Any

import pytest

from core.contracts.report import Measured, Report
from core.errors import ModelUnavailable
from core.imaging.volume import Volume
from tests.fixtures.volume_models import make_phantom
from tests.fixtures.volumes import to_nifti
from tests.support.volume_bench import Bench


def packed(volume: Volume, **options: Any) -> bytes:
    return to_nifti(volume.voxels, volume.affine, compress=True, **options)


@pytest.mark.parametrize("wanted", ["tumor-volume", "tumor-volume@1"])
def test_the_model_that_is_asked_for_does_the_job(bench: Bench, wanted: str) -> None:
    done = bench.run({"flair": packed(make_phantom()[0])}, model=wanted)
    assert done.report()["provenance"]["model"]["name"] == "tumor-volume"


@pytest.mark.parametrize("wanted", ["tumor-volume@2", "another"])
def test_a_job_for_another_model_is_left_to_a_worker_that_has_it(bench: Bench, wanted: str) -> None:
    with pytest.raises(ModelUnavailable, match="has tumor-volume@1; the job asks for another") as caught:
        bench.run({"flair": packed(make_phantom()[0])}, model=wanted)
    assert caught.value.retryable


def test_the_report_and_the_measurements_are_what_is_said_of_them(bench: Bench) -> None:
    """Every field that the document names, and no other."""
    done = bench.run({"flair": packed(make_phantom()[0])})
    report = Report.model_validate_json(done.files["report.json"])
    assert set(done.outcome.measurements) == set(Measured.model_fields)
    assert Measured.model_validate(done.outcome.measurements).regions == report.regions
    whole = report.regions["whole_tumor"]
    assert whole is not None
    assert whole.volume_ml > 0
    assert report.slices is not None
    assert report.slices_with_tumor == len(report.slices) > 0
