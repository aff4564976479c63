"""What a job hands over of regions that may not be believed: numbers, labels, pictures, probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from core.imaging.preparation.geometry import WorkingSpace
from core.imaging.volume import Grid
from segmenter_service.volumes.labels import label_voxels
from tests.fixtures.volume_models import make_phantom, validated, write_volume_bundle
from tests.fixtures.volumes import make_affine, to_nifti
from tests.support.volume_bench import Bench, Finished

SHAPE = (31, 27, 25)
# Regions as the shipped model knows them: the whole tumour well, the inner ones not.
POOR = {"whole_tumor": 0.75, "tumor_core": 0.46, "necrotic_core": 0.01, "oedema": 0.04, "enhancing": 0.36}
INNER = ["tumor_core", "necrotic_core", "oedema", "enhancing"]
# Okabe and Ito's, as OpenCV has them: whole tumour, core, enhancing.
COLOURS = {"whole": (66, 228, 240), "core": (0, 94, 213), "enhancing": (233, 180, 86)}


def run(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch, dice: dict[str, float], **request: Any
) -> tuple[Finished, np.ndarray]:
    """A phantom segmented by a model with these figures, and its true labels."""
    figures = {region: validated(value) for region, value in dice.items()}
    monkeypatch.setenv("FALX_MODELS_DIR", str(write_volume_bundle(folder / "models", validated_dice=figures)))
    volume, labels = make_phantom(SHAPE, make_affine("LPS", (1.0, 1.0, 2.0), SHAPE))
    return bench.run({"flair.nii.gz": to_nifti(volume.voxels, volume.affine, compress=True)}, **request), labels


def colours(done: Finished) -> set[str]:
    """The outlines and names of regions that are in any of the pictures."""
    found = set()
    for plane in ("axial", "coronal", "sagittal"):
        picture = cv2.imdecode(np.frombuffer(done.files[f"{plane}.png"], np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        for name, colour in COLOURS.items():
            if (np.abs(picture.astype(int) - colour).max(axis=2) < 30).sum() > 20:
                found.add(name)
    return found


def test_regions_that_may_not_be_believed_are_withheld(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, labels = run(bench, tmp_path, monkeypatch, POOR, outputs=("probabilities",))
    report = done.report()
    assert report["regions"]["whole_tumor"]["volume_ml"] == pytest.approx((labels > 0).sum() * 2 / 1000, abs=1e-3)
    assert {name: region for name, region in report["regions"].items() if region is None} == dict.fromkeys(INNER)
    assert list(report["withheld"]) == INNER
    assert "a mean Dice of 0.46" in report["withheld"]["tumor_core"]
    assert report["experimental"] == {}
    assert report["labels"] == {"2": "whole tumour"}
    assert np.array_equal(done.labels(), np.where(labels > 0, 2, 0))
    assert {tuple(one["area_mm2"]) for one in report["slices"]} == {("whole_tumor",)}
    assert report["max_probability"]["whole_tumor"] > 0.99
    assert report["max_probability"]["tumor_core"] is report["max_probability"]["enhancing_tumor"] is None
    assert done.outcome.measurements["regions"] == report["regions"]
    assert done.outcome.measurements["withheld"] == report["withheld"]
    assert [name for name in done.files if name.startswith("probability")] == ["probability_whole_tumor.nii.gz"]
    assert colours(done) == {"whole"}
    (warning,) = done.outcome.warnings
    assert "In the label map 2 is whole tumour." in warning


def test_who_asks_for_experimental_regions_is_shown_them_as_such(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, labels = run(bench, tmp_path, monkeypatch, POOR, experimental=True)
    report = done.report()
    assert (report["withheld"], list(report["experimental"])) == ({}, INNER)
    for name, values in {"tumor_core": [1, 3], "oedema": [2], "enhancing": [3]}.items():
        expected_ml = np.isin(labels, values).sum() * 2.0 / 1000
        assert report["regions"][name]["volume_ml"] == pytest.approx(expected_ml, abs=1e-3)
    assert report["labels"] == {"1": "necrotic core", "2": "oedema", "3": "enhancing"}
    assert np.array_equal(done.labels(), labels)
    assert colours(done) == set(COLOURS)
    (warning,) = done.outcome.warnings
    assert warning.startswith("Experimental, shown because it was asked for: tumour core,")


def test_a_model_without_figures_shows_nothing_and_says_so(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, labels = run(bench, tmp_path, monkeypatch, {})
    report = done.report()
    assert labels.any()
    assert not done.labels().any()
    assert report["labels"] == {}
    assert report["regions"] == dict.fromkeys(["whole_tumor", *INNER])
    assert report["withheld"]["whole_tumor"] == "How well this model finds it was not validated."
    assert report["slices"] is report["slices_with_tumor"] is report["components"] is None
    assert colours(done) == set()
    assert "not because there is no tumour" in done.outcome.warnings[0]


def certainty(probability: np.ndarray, threshold: float = 0.6, least_mm3: float = 0.0) -> float:
    """Of a channel on its own grid of 2 mm3."""
    grid = Grid(probability.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    space = WorkingSpace.over(grid, spacing_mm=None)
    channels = np.stack([probability] * 3).astype(np.float32)
    return label_voxels(channels, space, (threshold, 0.5, 0.5), least_mm3).certainty["whole_tumor"]


def test_certainty_is_the_share_of_what_may_be_tumour_that_surely_is() -> None:
    probability = np.full((10, 10, 10), 0.29)
    probability[:5, 0, 0] = 0.31
    probability[:3, 0, 0] = 0.81
    assert certainty(probability) == 0.6
    # The halves of the way move with the threshold.
    assert certainty(probability, threshold=0.4) == 0.003


def test_what_is_nowhere_likely_is_surely_absent() -> None:
    probability = np.zeros((10, 10, 10))
    assert certainty(probability) == 1.0
    probability[0, 0, :4] = 0.5
    assert certainty(probability, least_mm3=8.1) == 1.0
    assert certainty(probability, least_mm3=8.0) == 0.0


def test_a_little_that_enhances_is_core_and_said_so(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, labels = make_phantom()
    ml = np.count_nonzero(labels == 3) * float(abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    for factor, expected in ((1.01, np.where(labels == 3, 1, labels)), (0.99, labels)):
        least = round(ml * factor, 6)
        models = write_volume_bundle(tmp_path / str(factor), smallest_enhancing_ml=least)
        monkeypatch.setenv("FALX_MODELS_DIR", str(models))
        done = bench.run({"flair.nii.gz": to_nifti(volume.voxels, volume.affine, compress=True)})
        assert np.array_equal(done.labels(), expected)
        assert done.outcome.provenance["smallest_enhancing_ml"] == least
        said = f"Less than {least:g} ml seemed to enhance, too little to be told from noise: it counts as core."
        assert done.outcome.warnings == ((said,) if factor > 1 else ())
        assert ("enhancing" in done.report()["regions"]) is (factor < 1)
