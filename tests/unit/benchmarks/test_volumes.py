"""Figures of volumes are computed right, and jobs are measured as a worker runs them, with a tiny network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.volumes import prepared
from benchmarks.volumes_case import SEQUENCES, SHAPE, make_case, write_bundle, write_case
from benchmarks.volumes_compare import Comparison, FalxSide, Parity, Run, window_weights
from benchmarks.volumes_job import JobTimes, do_job, peak_rss_mib, store_inputs
from benchmarks.volumes_report import Results, waiting_s, write_report
from core.imaging.windows import WindowPlan
from segmenter_service.stages import STAGES
from tests.fixtures.volume_models import WINDOW, write_volume_bundle

SMALL = (44, 48, 31)


def comparison(falx_s: list[float], monai_s: list[float], spacing_mm: float = 3.0) -> Comparison:
    falx, monai = (tuple(Run(seconds, 0.9 * seconds) for seconds in side) for side in (falx_s, monai_s))
    return Comparison(spacing_mm, (49, 60, 50), 8, falx, monai, 4, Parity(0.25, 0.001, 0.0125))


def job(wall_s: float, peak_mib: float) -> JobTimes:
    return JobTimes(wall_s, dict.fromkeys(STAGES, 0.5), peak_mib, {"whole_tumor": 12.5, "tumor_core": 3.0})


def test_ratios_pair_rounds_so_that_a_slow_round_cancels() -> None:
    assert comparison([1.0, 5.0, 1.0], [2.0, 10.0, 3.0]).ratio == pytest.approx(2.0)


def test_parity_is_that_of_the_worst_voxel_and_of_decisions() -> None:
    one, other = np.zeros((1, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 1), np.float32)
    one[0, 0], other[0, 0] = [[0.4], [0.9]], [[0.6], [0.8]]
    parity = Parity.of(one, other)
    assert parity.largest == pytest.approx(0.2)
    assert parity.mean == pytest.approx(0.075)
    assert parity.decided_otherwise == pytest.approx(0.25)
    with pytest.raises(ValueError, match="shape"):
        Parity.of(one, other[:, :1])


def test_the_weights_handed_to_monai_are_the_plans() -> None:
    side = 16
    plan = WindowPlan.over((24, 16, 16), (side, side, side), 0.5)
    axis = window_weights(side)[:, 8, 8]
    shared = axis[8:] + axis[:8]
    assert np.allclose(plan.weights[0][0][8:], axis[8:] / shared, atol=1e-6)
    assert np.allclose(plan.weights[0][8][:8], axis[:8] / shared, atol=1e-6)


def test_the_kernels_peak_is_read() -> None:
    assert peak_rss_mib("Name:\tpython\nVmPeak:\t 999999 kB\nVmHWM:\t  3072 kB\nVmRSS:\t 10 kB\n") == 3.0
    with pytest.raises(ValueError, match="Linux"):
        peak_rss_mib("Name:\tpython\n")


@pytest.mark.parametrize(("jobs", "workers", "expected"), [(1, 2, 0.0), (4, 1, 9.0), (4, 2, 3.0), (5, 2, 6.0)])
def test_the_last_job_waits_for_the_rounds_before_it(jobs: int, workers: int, expected: float) -> None:
    assert waiting_s(jobs, workers, 3.0) == pytest.approx(expected)


def test_the_case_is_a_brain_in_a_box_of_its_size_with_a_lesion_in_every_sequence() -> None:
    case = make_case(SMALL)
    assert tuple(case) == SEQUENCES
    scale = min(size / whole for size, whole in zip(SMALL, SHAPE, strict=True))
    for name, volume in case.items():
        assert volume.voxels.shape == SMALL
        assert volume.voxels.dtype == np.int16
        shown = np.argwhere(volume.voxels != 0)
        assert np.allclose(np.ptp(shown, axis=0) + 1, 2 * scale * np.asarray((69, 86, 70)), atol=2)
        centre = tuple(round((n - 1) / 2 + scale * mm) for n, mm in zip(SMALL, (24, 14, 12), strict=True))
        middle, opposite = (
            volume.voxels[centre],
            volume.voxels[tuple(n - 1 - c for n, c in zip(SMALL, centre, strict=True))],
        )
        assert abs(int(middle) - int(opposite)) > 60, name


def test_a_job_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    network = write_volume_bundle(tmp_path / "tiny") / "tumor-volume" / "1" / "model.onnx"
    models, blobs, case = tmp_path / "models", tmp_path / "blobs", make_case(SMALL)
    preprocessing = write_bundle(models, network, WINDOW, 1.0, overlap=0.5)
    times = do_job(store_inputs(blobs, write_case(tmp_path, case)), models, blobs)
    assert set(times.stages_s) == set(STAGES)
    assert 0 < times.process_s < times.wall_s
    assert 30 < times.peak_mib < 1024
    assert times.found_ml["whole_tumor"] > 0
    tensor = prepared(case, preprocessing)
    falx = FalxSide(models)
    run, probabilities = falx.infer(tensor)
    assert 0 < run.network_s < run.seconds
    assert probabilities.shape == (3, *tensor.shape[1:])
    again, _ = falx.infer(tensor)
    assert again.network_s < again.seconds


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    files = write_case(tmp_path, make_case(SMALL))
    (tmp_path / "none").mkdir()
    with pytest.raises(RuntimeError, match="No model for volumes"):
        do_job(store_inputs(tmp_path / "blobs", files), tmp_path / "none", tmp_path / "blobs")


@pytest.mark.parametrize(
    ("monai_s", "wall_s", "peak_mib", "said"),
    [
        (2.5, 8.0, 900.0, ("is met at every spacing: the least ratio is 2.50", "within its limit of time and within")),
        (1.5, 25.0, 4000.0, ("is missed: the least ratio is 1.50", "above its limit of time and above")),
    ],
)
def test_the_page_says_what_was_measured(
    tmp_path: Path, monai_s: float, wall_s: float, peak_mib: float, said: tuple[str, str]
) -> None:
    page = tmp_path / "page.md"
    comparisons = [comparison([1.0] * 3, [monai_s] * 3), comparison([4.0] * 3, [4 * monai_s] * 3, 1.5)]
    versions = {"torch": "2.0", "monai": "1.0"}
    jobs = [job(wall_s, peak_mib), job(60.0, 1000.0)]
    write_report(page, Results(comparisons, Parity(3e-5, 1e-6, 0.0), jobs, versions, SHAPE, 48, trained=True))
    text = page.read_text()
    assert all(words in " ".join(text.split()) for words in said)
    assert (
        f"| 3 | 49 x 60 x 50 | 8 | 1.00 | 0.90 | {monai_s:.2f} | {0.9 * monai_s:.2f} | 4 | {monai_s:.2f} | 125 |"
        in text
    )
    assert "| same windows | 3.0e-05 | 1.0e-06 | 0.000% |" in text
    assert "| 1.5 mm | 2.5e-01 | 1.0e-03 | 1.250% |" in text
    assert f"| 3 | {wall_s:.1f} | {wall_s - 3.5:.2f} |{' 0.50 |' * 7} {peak_mib:.0f} | 12.5 |" in text
    assert f"| 16 | {15 * wall_s:.0f} | {7 * wall_s:.0f} |" in text
