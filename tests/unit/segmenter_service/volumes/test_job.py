"""A job of volumes from stored inputs to stored results, with a real network, in this process."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.contracts.sequences import SEQUENCES
from core.errors import (
    BundleCorrupt,
    FalxError,
    InconsistentGeometry,
    InvalidDicom,
    InvalidNifti,
    InvalidRequest,
    MissingSequence,
    ModelUnavailable,
    StoredDataCorrupt,
    TooFewSlices,
    UnusableVolume,
)
from core.imaging.volume import Volume
from core.jobs.handler import Work
from segmenter_service.volumes.job import run
from segmenter_service.volumes.stages import STAGES
from tests.fixtures.volume_models import make_phantom, preprocessing, volume_manifest, write_volume_bundle
from tests.fixtures.volumes import make_affine, make_series, to_nifti, to_zip
from tests.support.volume_bench import Bench

SHAPE = (31, 27, 25)


def packed(volume: Volume, **options: Any) -> bytes:
    return to_nifti(volume.voxels, volume.affine, compress=True, **options)


def windowed(volume: Volume) -> np.ndarray:
    """0 to 255 over the grey values that pictures show of a stripped head."""
    low, high = np.percentile(volume.voxels[volume.voxels > 0], (1.0, 99.7))
    return np.asarray(np.clip((volume.voxels - low) / (high - low), 0, 1) * 255)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / max(1, total)


@pytest.mark.parametrize(
    ("orientation", "spacing", "tilt"),
    [
        ("RAS", (1.0, 1.0, 1.0), 0),
        ("LPS", (1.0, 1.0, 1.0), 25),
        ("PSR", (0.8, 1.1, 1.6), 0),
        ("IAL", (1.5, 0.7, 1.0), 15),
        ("SLP", (1.0, 1.0, 2.0), 40),
    ],
)
def test_a_phantom_comes_back_on_its_own_voxels(
    bench: Bench, orientation: str, spacing: tuple[float, float, float], tilt: float
) -> None:
    volume, labels = make_phantom(SHAPE, make_affine(orientation, spacing, SHAPE, tilt))
    done = bench.run({"flair.nii.gz": packed(volume)})
    assert np.array_equal(done.labels(), labels)
    assert np.array_equal(np.unique(done.labels()), [0, 1, 2, 3])
    assert np.allclose(done.image().affine, volume.affine, atol=1e-4)


def test_a_resampled_phantom_comes_back_nearly(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = write_volume_bundle(tmp_path / "models", preprocessing=preprocessing(1.0))
    monkeypatch.setenv("FALX_MODELS_DIR", str(models))
    shape = (40, 44, 18)
    volume, labels = make_phantom(shape, make_affine("LAS", (0.8, 0.8, 2.0), shape, 10), 9.0)
    found = bench.run({"t1ce": packed(volume)}).labels()
    assert found.shape == shape
    assert dice(found > 0, labels > 0) > 0.9
    assert dice(np.flip(found, 0) > 0, labels > 0) < dice(found > 0, labels > 0)


@pytest.mark.parametrize("mirroring", ["false", "true"])
@pytest.mark.parametrize("batch", ["1", "2", "9"])
def test_a_network_that_is_shown_columns_of_windows_says_the_same(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str, mirroring: str
) -> None:
    models = write_volume_bundle(tmp_path / "models", columns=True, preprocessing=preprocessing() | {"columns": True})
    monkeypatch.setenv("FALX_MODELS_DIR", str(models))
    monkeypatch.setenv("FALX_VOLUME_BATCH", batch)
    monkeypatch.setenv("FALX_VOLUME_MIRRORING", mirroring)
    shape = (31, 27, 41)
    volume, labels = make_phantom(shape, make_affine("PSR", (0.8, 1.1, 1.6), shape))
    done = bench.run({"flair.nii.gz": packed(volume)})
    assert np.array_equal(done.labels(), labels)


@pytest.mark.parametrize("given", [("t2",), ("t1", "flair"), SEQUENCES])
def test_any_of_the_sequences_will_do(bench: Bench, given: tuple[str, ...]) -> None:
    affine = make_affine("LPS", shape=SHAPE)
    phantoms = {name: make_phantom(SHAPE, affine, seed=seed) for seed, name in enumerate(given)}
    done = bench.run({f"{name}.nii": packed(volume) for name, (volume, _) in phantoms.items()})
    assert np.array_equal(done.labels(), phantoms[given[0]][1])
    assert done.outcome.provenance["sequences"] == list(given)
    assert done.outcome.warnings == ()


def test_a_file_of_four_dimensions_with_one_frame_is_a_volume(bench: Bench) -> None:
    volume, labels = make_phantom()
    done = bench.run({"flair.nii.gz": packed(Volume(volume.voxels[..., None], volume.affine))})
    assert np.array_equal(done.labels(), labels)


def test_a_sequence_on_another_grid_is_resampled_to_the_reference_and_said_so(bench: Bench) -> None:
    affine, other = make_affine("RAS", shape=SHAPE), make_affine("LPI", (1.0, 1.0, 1.0), (35, 31, 29))
    reference, labels = make_phantom(SHAPE, affine)
    done = bench.run({"flair.nii.gz": packed(make_phantom((35, 31, 29), other)[0]), "t1ce.nii.gz": packed(reference)})
    assert done.outcome.provenance["reference"] == "t1ce"
    assert done.labels().shape == SHAPE
    assert dice(done.labels() > 0, labels > 0) > 0.95
    assert [warning for warning in done.outcome.warnings if "flair lies on another grid than t1ce" in warning]


def test_a_dicom_study_comes_back_on_the_grid_of_its_series(bench: Bench) -> None:
    volume, labels = make_phantom(SHAPE, make_affine("LPS", (1.0, 1.0, 1.5), SHAPE))
    series = make_series(volume, number=3, description="AX T2 FLAIR")
    done = bench.run({"dicom.zip": to_zip(series).getvalue()})
    assert np.array_equal(done.labels(), labels)
    assert np.allclose(done.image().affine, volume.affine, atol=1e-3)
    assert any("is taken as flair" in warning for warning in done.outcome.warnings)
    assert "Doe" not in done.outcome.model_dump_json() + done.files["report.json"].decode()
    source = {"sequence": "flair", "uid": "1.2.3.3", "number": 3, "slices": SHAPE[2], "frame_of_reference": "1.2.3.0"}
    (told,) = done.report()["series"]
    assert told | source == told
    assert [reason.partition(":")[0] for reason in told["reasons"]][:2] == ["flair-word", "original"]
    provenance: Any = done.outcome.provenance
    (kept,) = provenance["series"]
    assert kept["uid_sha256"] == hashlib.sha256(b"1.2.3.3").hexdigest()
    assert kept["frame_of_reference_sha256"] == hashlib.sha256(b"1.2.3.0").hexdigest()
    assert {name: kept[name] for name in ("sequence", "number", "slices", "reasons", "confidence")} == {
        name: told[name] for name in ("sequence", "number", "slices", "reasons", "confidence")
    }
    assert "1.2.3" not in done.outcome.model_dump_json()


def test_results_say_what_was_measured_and_how_it_came_about(bench: Bench, models: Path) -> None:
    volume, labels = make_phantom(SHAPE, make_affine("LPS", (1.0, 1.0, 2.0), SHAPE))
    record = bench.record({"flair.nii.gz": packed(volume)}, attempts=2)
    done = bench.do(record)
    assert set(done.files) == {"segmentation.nii.gz", "report.json", "axial.png", "coronal.png", "sagittal.png"}
    assert all(f"/results/2/{file.name}" in file.blob for file in done.outcome.results)
    report = done.report()
    for name, values in {"whole_tumor": [1, 2, 3], "tumor_core": [1, 3], "enhancing": [3]}.items():
        expected_ml = np.isin(labels, values).sum() * 2.0 / 1000
        assert report["regions"][name]["volume_ml"] == pytest.approx(expected_ml, abs=1e-3)
    axial = np.flatnonzero((labels > 0).any(axis=(0, 1)))
    assert [one["slice"] for one in report["slices"]] == axial.tolist()
    assert done.outcome.measurements["regions"] == report["regions"]
    assert report["max_probability"]["enhancing_tumor"] > 0.99
    provenance: Any = done.outcome.provenance
    assert provenance["inputs"] == {"flair.nii.gz": record.inputs[0].sha256}
    assert provenance["model"]["name"] == "tumor-volume"
    assert provenance["model"]["provider"] == "CPUExecutionProvider"
    assert provenance["attempt"] == 2
    assert set(provenance["timings_s"]) == set(STAGES)
    assert "Not a medical device" in report["disclaimer"]
    for plane in ("axial", "coronal", "sagittal"):
        picture = cv2.imdecode(np.frombuffer(done.files[f"{plane}.png"], np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape[1] == 640


def test_a_head_without_a_tumour_has_an_empty_map(bench: Bench) -> None:
    volume, _ = make_phantom()
    # Nothing is brighter than the head: cut off what the lesion adds.
    smooth = np.where(volume.voxels > 0, 200.0 + np.arange(SHAPE[0])[:, None, None] * 0.0, 0.0)
    smooth[5, 13, 12] = 900.0
    done = bench.run({"flair.nii.gz": packed(Volume(smooth.astype(np.float32), volume.affine))})
    assert np.count_nonzero(done.labels()) <= 1
    assert "axial.png" in done.files


def test_progress_goes_through_all_stages_and_never_back(bench: Bench) -> None:
    done = bench.run({"flair.nii.gz": packed(make_phantom()[0])})
    assert list(dict.fromkeys(stage for stage, _ in done.reports)) == list(STAGES)
    fractions = [fraction for _, fraction in done.reports]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    # One report a window, the volume being larger than a window in all directions.
    assert len([stage for stage, _ in done.reports if stage == "segment"]) > 8


def test_probabilities_come_when_asked_for(bench: Bench) -> None:
    volume, labels = make_phantom(SHAPE, make_affine("PIR", (1.0, 1.2, 1.0), SHAPE))
    done = bench.run({"flair.nii.gz": packed(volume)}, outputs=("probabilities",))
    image = done.image("probability_whole_tumor.nii.gz")
    probability = np.asarray(image.dataobj)
    assert probability.dtype == np.float32
    assert np.allclose(image.affine, volume.affine, atol=1e-4)
    assert np.array_equal(probability > 0.5, labels > 0)
    assert {f"probability_{region}.nii.gz" for region in volume_manifest()["labels"]} <= set(done.files)


@pytest.mark.parametrize(("orientation", "tilt"), [("RAS", 0), ("LPS", 20), ("PIR", 0), ("IAL", 0)])
def test_the_backdrop_lies_under_the_labels_when_asked_for(bench: Bench, orientation: str, tilt: float) -> None:
    affine = make_affine(orientation, (1.0, 1.2, 1.0), SHAPE, tilt)
    flair, labels = make_phantom(SHAPE, affine)
    plain = Volume(np.where(flair.voxels > 0, np.float32(200), np.float32(0)), affine)
    plain.voxels[3, 4, 5] = 201
    done = bench.run({"t1.nii.gz": packed(plain), "flair.nii.gz": packed(flair)}, outputs=("backdrop",))
    assert set(done.files) == {
        "segmentation.nii.gz", "report.json", "axial.png", "coronal.png", "sagittal.png", "backdrop.nii.gz",
    }  # fmt: skip
    backdrop, segmentation = done.image("backdrop.nii.gz"), done.image()
    assert np.array_equal(backdrop.affine, segmentation.affine)
    grey = np.asarray(backdrop.dataobj)
    assert grey.dtype == np.uint8
    assert grey.shape == SHAPE
    # Brighter than all of the head where the lesion enhances, and nowhere else: on its side, and of the FLAIR.
    assert np.array_equal(grey > 230, labels == 3)
    assert (grey[flair.voxels == 0] == 0).all()
    assert np.abs(grey - windowed(flair)).max() <= 1
    # Measurements between 0 and 255, for viewers; the label map alone holds names.
    assert [int(backdrop.header[name]) for name in ("intent_code", "cal_min", "cal_max")] == [0, 0, 255]
    assert int(segmentation.header["intent_code"]) == 1002


def test_without_a_flair_the_backdrop_is_the_sequence_of_the_pictures(bench: Bench) -> None:
    affine = make_affine("LPS", shape=SHAPE)
    t2, _ = make_phantom(SHAPE, affine)
    t1 = Volume(np.where(t2.voxels > 0, 900 - t2.voxels, np.float32(0)), affine)
    done = bench.run({"t1": packed(t1), "t2": packed(t2)}, outputs=("probabilities", "backdrop"))
    grey = np.asarray(done.image("backdrop.nii.gz").dataobj)
    assert np.abs(grey - windowed(t2)).max() <= 1
    assert "probability_whole_tumor.nii.gz" in done.files


def test_mirrored_windows_answer_alike_where_the_network_knows_no_sides(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FALX_VOLUME_MIRRORING", "true")
    monkeypatch.setenv("FALX_VOLUME_BATCH", "3")
    volume, labels = make_phantom()
    done = bench.run({"flair.nii.gz": packed(volume)})
    assert np.array_equal(done.labels(), labels)
    assert done.outcome.provenance["mirroring"] is True


def test_small_components_are_left_out(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALX_MODELS_DIR", str(write_volume_bundle(tmp_path / "models", smallest_component_ml=0.02)))
    volume, labels = make_phantom()
    speck = volume.voxels.copy()
    speck[15, 3:5, 12] = 500.0
    assert not labels[14:17, 2:6, 11:14].any()
    done = bench.run({"flair.nii.gz": packed(Volume(speck, volume.affine))})
    assert np.array_equal(done.labels(), labels)
    assert done.outcome.measurements["components"] == {"kept": 1, "removed": 1}


def test_what_a_model_is_known_to_do_badly_is_said_in_every_answer(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caveat = "Do not rely on the region enhancing tumor."
    monkeypatch.setenv("FALX_MODELS_DIR", str(write_volume_bundle(tmp_path / "careful", caveats=[caveat])))
    volume, _ = make_phantom()
    done = bench.run({"flair": packed(volume)})
    assert done.outcome.warnings == (caveat,)
    assert done.report()["warnings"] == [caveat]


def test_the_request_says_which_series_is_which(bench: Bench) -> None:
    volume = make_phantom()[0]
    files = [
        file for number in (3, 4) for file in make_series(_brighter(volume, number), number=number, description="brain")
    ]
    study = {"dicom": to_zip(files).getvalue()}
    done = bench.run(study, series={"1.2.3.3": "t1ce", "1.2.3.4": "flair"})
    assert done.outcome.provenance["sequences"] == ["t1ce", "flair"]
    with pytest.raises(MissingSequence) as caught:
        bench.run(study, series={"1.2.3.9": "flair"})
    assert [fault.pointer for fault in caught.value.errors] == ["part/job#/series"]
    assert "1.2.3.9" not in caught.value.detail
    with pytest.raises(InvalidRequest, match="series goes with the part dicom only"):
        bench.run({"flair": packed(volume)}, series={"1.2.3.3": "flair"})


def _brighter(volume: Volume, times: int) -> Volume:
    """Unlike the first in more than scale, so that it is not taken for a copy."""
    return Volume((volume.voxels + times * np.sqrt(np.abs(volume.voxels))).astype(np.float32), volume.affine)


def broken_inputs() -> dict[str, tuple[dict[str, bytes], type[FalxError]]]:
    volume, _ = make_phantom()
    whole = packed(volume)
    far = Volume(volume.voxels, make_affine(shape=SHAPE) + np.diag([0, 0, 0, 0]) + _moved(500.0))
    return {
        "truncated": ({"flair.nii.gz": whole[: len(whole) // 2]}, InvalidNifti),
        "no file of this kind": ({"t1.nii": b"Not a NIfTI file at all." * 40}, InvalidNifti),
        "empty": ({"t1.nii": b""}, InvalidNifti),
        "two frames": ({"t2": packed(Volume(np.stack([volume.voxels] * 2, -1), volume.affine))}, UnusableVolume),
        "one value": ({"t2": packed(Volume(np.ones(SHAPE, np.float32), volume.affine))}, UnusableVolume),
        "four slices": ({"t2": packed(Volume(volume.voxels[..., :4], volume.affine))}, TooFewSlices),
        "elsewhere": ({"flair": whole, "t1": packed(far)}, InconsistentGeometry),
        "unknown part": ({"pet.nii.gz": whole}, InvalidRequest),
        "one sequence twice": ({"flair.nii": whole, "flair.nii.gz": whole}, InvalidRequest),
        "a study and a file": ({"dicom.zip": whole, "flair": whole}, InvalidRequest),
        "no zip": ({"dicom": whole}, InvalidDicom),
        "nothing": ({}, MissingSequence),
    }


def _moved(by_mm: float) -> np.ndarray:
    moved = np.zeros((4, 4))
    moved[0, 3] = by_mm
    return moved


@pytest.mark.parametrize("case", broken_inputs())
def test_what_cannot_be_used_is_refused_by_name(bench: Bench, case: str) -> None:
    inputs, error = broken_inputs()[case]
    with pytest.raises(error) as caught:
        bench.run(inputs)
    assert 400 <= caught.value.status < 500
    assert not caught.value.retryable


def test_the_part_at_fault_is_named(bench: Bench) -> None:
    good = packed(make_phantom()[0])
    with pytest.raises(InvalidNifti) as caught:
        bench.run({"t1.nii.gz": good, "flair.nii.gz": good[:-50]})
    assert [fault.pointer for fault in caught.value.errors] == ["part/flair"]


def test_a_file_that_the_store_has_damaged_is_nobodys_input(bench: Bench) -> None:
    record = bench.record({"flair.nii": to_nifti(make_phantom()[0].voxels)})
    path = bench.folder / record.inputs[0].blob
    data = bytearray(path.read_bytes())
    data[-5] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(StoredDataCorrupt):
        bench.do(record)


def test_a_job_that_is_not_done_here_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidRequest):
        bench.run({"flair": packed(make_phantom()[0])}, type="classification")


def test_without_a_model_the_job_may_be_tried_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FALX_MODELS_DIR", str(tmp_path / "none"))
    with pytest.raises(ModelUnavailable) as caught:
        bench.run({"flair": packed(make_phantom()[0])})
    assert caught.value.retryable


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["tumor_core", "whole_tumor", "enhancing_tumor"]},
        {"preprocessing": {**preprocessing(), "window": [32, 32, 32]}},
        {"preprocessing": {**preprocessing(), "sequences": ["t1", "flair"]}},
        {"thresholds": [0.5]},
        {"preprocessing": {**preprocessing(), "columns": True}},
    ],
    ids=["order of regions", "window", "sequences", "thresholds", "columns"],
)
def test_a_bundle_that_does_not_fit_its_network_is_refused(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setenv("FALX_MODELS_DIR", str(write_volume_bundle(tmp_path / "models", **changes)))
    with pytest.raises(BundleCorrupt):
        bench.run({"flair": packed(make_phantom()[0])})


def test_nothing_with_a_name_is_left_on_the_machine(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    named: list[str] = []
    series = make_series(make_phantom()[0], number=3, description="AX T2 FLAIR")
    record = bench.record({"dicom.zip": to_zip(series).getvalue()}, outputs=("probabilities",))
    run(Work(record, lambda *_: named.extend(path.name for path in scratch.iterdir())))
    assert named == [path.name for path in scratch.iterdir()] == []
