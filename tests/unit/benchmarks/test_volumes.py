"""Figures of volumes are computed right, and jobs are measured as a worker runs them, with a tiny network."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.volumes import prepared
from benchmarks.volumes_case import SHAPE, Network, finer, make_case, write_bundle, write_case
from benchmarks.volumes_compare import Comparison, FalxSide, Parity, Run, TorchSide, two_windows, window_weights
from benchmarks.volumes_job import JobTimes, do_job, peak_rss_mib, store_inputs
from benchmarks.volumes_report import Results, verdict, waiting_s, windows_table, write_report
from core.contracts.manifest import VolumePreprocessing
from core.contracts.sequences import SEQUENCES
from core.imaging.volume import Spacing
from core.runtime.sliding import WindowPlan
from segmenter_service.volumes.stages import STAGES
from tests.fixtures.volume_models import WINDOW, write_volume_bundle

SMALL = (44, 48, 31)
PREPROCESSING = VolumePreprocessing(
    sequences=SEQUENCES,
    spacing_mm=(1.5, 1.5, 3.0),
    keep_thick_slices=True,
    copy_correlation=0.99,
    window=(144, 176, 16),
)
NETWORK = Network(Path("model.onnx"), "slices-in-volume", PREPROCESSING)


def comparison(falx_s: list[float], monai_s: list[float], spacing_mm: Spacing = (1.5, 1.5, 3.0)) -> Comparison:
    falx, monai = (tuple(Run(seconds, 0.9 * seconds) for seconds in side) for side in (falx_s, monai_s))
    return Comparison(spacing_mm, (99, 121, 50), 8, falx, monai, 2, Parity(0.25, 0.001, 0.0125))


def job(wall_s: float, peak_mib: float) -> JobTimes:
    return JobTimes(wall_s, dict.fromkeys(STAGES, 0.5), peak_mib, {"whole_tumor": 12.5, "tumor_core": 3.0})


def even(spacing_mm: float | None) -> Network:
    preprocessing = VolumePreprocessing.model_validate(PREPROCESSING.model_dump() | {"spacing_mm": spacing_mm})
    return Network(NETWORK.path, NETWORK.architecture, preprocessing)


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
    window = (16, 32, 8)
    plan = WindowPlan.over((24, 48, 12), window, 0.5)
    weights = window_weights(window)
    assert weights.shape == window
    for axis, side in enumerate(window):
        half, along = side // 2, np.moveaxis(weights, axis, 0)
        line = along[:, along.shape[1] // 2, along.shape[2] // 2]
        shared = line[half:] + line[:half]
        assert np.allclose(plan.weights[axis][0][half:], line[half:] / shared, atol=1e-6)
        assert np.allclose(plan.weights[axis][half][:half], line[:half] / shared, atol=1e-6)


def test_parity_is_taken_in_the_middle_of_the_volume_on_two_windows_an_axis() -> None:
    volume = np.random.default_rng(0).random((4, 12, 40, 14), np.float32)
    window = (16, 16, 8)
    middle = two_windows(volume, window)
    assert middle.shape == (4, 24, 24, 12)
    assert [len(starts) for starts in WindowPlan.over(middle.shape[1:], window, 0.5).starts] == [2, 2, 2]
    assert np.array_equal(middle[:, 6:18], volume[:, :, 8:32, 1:13])
    assert not middle[:, :6].any()
    assert not middle[:, 18:].any()


def test_finer_voxels_keep_their_proportions_and_all_else() -> None:
    assert finer(NETWORK, 1.0) == NETWORK
    assert finer(NETWORK, 0.667).preprocessing == PREPROCESSING.model_copy(update={"spacing_mm": (1.0, 1.0, 2.0)})
    assert finer(even(3.0), 0.5).preprocessing.spacing_mm == (1.5, 1.5, 1.5)
    with pytest.raises(ValueError, match="own voxels"):
        finer(even(None), 0.5)


def test_the_network_is_what_the_torch_process_says(tmp_path: Path) -> None:
    told = {
        "versions": {"torch": "2.0", "monai": "1.0"},
        "architecture": "slices-in-volume",
        "preprocessing": PREPROCESSING.model_dump(mode="json"),
    }
    command = [sys.executable, "-c", f"print({json.dumps(json.dumps(told))})"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        other = TorchSide(process, tmp_path)
        assert other.versions == told["versions"]
        assert other.network == Network(tmp_path / "model.onnx", "slices-in-volume", PREPROCESSING)
        process.wait()
        with pytest.raises(RuntimeError, match="ended"):
            TorchSide(process, tmp_path)


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
    preprocessing = VolumePreprocessing(sequences=SEQUENCES, spacing_mm=(1.0, 1.0, 2.0), window=(WINDOW,) * 3)
    write_bundle(models, Network(network, "tiny-levels", preprocessing))
    times = do_job(store_inputs(blobs, write_case(tmp_path, case)), models, blobs)
    assert set(times.stages_s) == set(STAGES)
    assert 0 < times.process_s < times.wall_s
    assert 30 < times.peak_mib < 1024
    assert times.found_ml["whole_tumor"] > 0
    tensor = prepared(case, preprocessing)
    falx = FalxSide(models)
    assert falx.model.bundle.manifest.architecture == "tiny-levels"
    assert falx.model.preprocessing == preprocessing
    assert tensor.shape[3] < 0.6 * SMALL[2]
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
        (
            2.5,
            8.0,
            900.0,
            (
                "is met at every spacing (least ratio 2.50) in float32. Both",
                "within its limit of time and within",
            ),
        ),
        (
            1.5,
            25.0,
            4000.0,
            ("is missed (least ratio 1.50) in float32. Both", "above its limit of time and above"),
        ),
    ],
)
def test_the_page_says_what_was_measured(
    tmp_path: Path, monai_s: float, wall_s: float, peak_mib: float, said: tuple[str, str]
) -> None:
    page = tmp_path / "page.md"
    comparisons = [comparison([1.0] * 3, [monai_s] * 3), comparison([4.0] * 3, [4 * monai_s] * 3, (1.0, 1.0, 2.0))]
    versions = {"torch": "2.0", "monai": "1.0"}
    jobs = [job(wall_s, peak_mib), job(60.0, 1000.0)]
    write_report(page, Results(comparisons, Parity(3e-5, 1e-6, 0.0), jobs, versions, SHAPE, NETWORK, trained=True))
    text = page.read_text()
    assert all(words in " ".join(text.split()) for words in said)
    assert (
        f"| 1.5 x 1.5 x 3 | 99 x 121 x 50 | 8 | 1.00 | 0.90 | - | {monai_s:.2f} | {0.9 * monai_s:.2f} | 2 | "
        f"{monai_s:.2f} | - | 125 |" in text
    )
    assert "Windows of 144 x 176 x 16 voxels" in text
    assert "`slices-in-volume`, trained weights" in text
    assert "in the uncounted round, 1 or 2." in text
    assert "| same windows | 3.0e-05 | 1.0e-06 | 0.000% |" in text
    assert "| 1 x 1 x 2 mm | 2.5e-01 | 1.0e-03 | 1.250% |" in text
    assert f"| 1.5 x 1.5 x 3 | {wall_s:.1f} | {wall_s - 3.5:.2f} |{' 0.50 |' * 7} {peak_mib:.0f} | 12.5 |" in text
    assert f"| 16 | {15 * wall_s:.0f} | {7 * wall_s:.0f} |" in text


def test_int8_has_a_ratio_and_a_verdict_of_its_own() -> None:
    runs = tuple(Run(0.5, 0.4) for _ in range(3))
    both = dataclasses.replace(comparison([1.0] * 3, [1.5] * 3), int8=runs)
    assert both.int8_ratio == 3.0
    assert "| 1.00 | 0.90 | 0.50 | 1.50 |" in windows_table([both])
    assert "missed (least ratio 1.50) in float32 and met at every spacing (least ratio 3.00) in int8" in " ".join(
        verdict([both]).split()
    )


def test_a_network_with_an_int8_file_runs_it_where_asked(tmp_path: Path) -> None:
    preprocessing = PREPROCESSING.model_copy(update={"window": (WINDOW,) * 3})
    network = write_volume_bundle(tmp_path / "tiny") / "tumor-volume" / "1" / "model.onnx"
    models = tmp_path / "models"
    write_bundle(models, Network(network, "tiny-levels", preprocessing, network))
    assert FalxSide(models).model.file.variant == "reference"
    assert FalxSide(models, "int8").model.file.variant == "int8"
    # As a job does.
    assert FalxSide(models, "auto").model.file.variant == "int8"
