"""One lesion through the shipped network, however the greys of the volume were written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from core.errors import UnusableVolume
from tests.fixtures.brains import make_brain
from tests.fixtures.volumes import make_affine, to_nifti
from tests.support.volume_bench import Bench, Finished

ROOT = Path(__file__).resolve().parents[4]
LEAST_DICE = 0.98
VOLUME_TOLERANCE = 0.02

Greys = npt.NDArray[np.floating]


def scores(grey: Greys, mask: npt.NDArray[np.bool_]) -> Greys:
    z: Greys = (grey - grey[mask].mean()) / grey[mask].std()
    return z


def rewritten(kind: str, grey: Greys, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.generic]:
    z = scores(grey, mask)
    written: dict[str, npt.NDArray[np.generic]] = {
        "plain": grey.astype(np.int16),
        "z-scores, 0 outside": np.where(mask, z, 0).astype(np.float32),
        "z-scores, NaN outside": np.where(mask, z, np.nan).astype(np.float32),
        "z-scores, -1024 outside": np.where(mask, z, -1024).astype(np.float64),
        "z-scores in bytes, 128 outside": np.clip(np.rint(np.where(mask, z, 0) * 20 + 128), 0, 255).astype(np.uint8),
        "-1 to 1, -1 outside": (2 * grey / grey.max() - 1).astype(np.float32),
        "a millionth, -1 outside": np.where(mask, grey * 1e-6, -1).astype(np.float32),
    }
    return written[kind]


@pytest.fixture(autouse=True)
def shipped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FALX_MODELS_DIR", str(ROOT / "models"))


BRAIN = {name: volume for name, volume in make_brain().items() if name in ("t1ce", "flair")}


def segmented(bench: Bench, kinds: Mapping[str, str]) -> Finished:
    files = {}
    for name, volume in BRAIN.items():
        grey = volume.voxels.astype(np.float64)
        files[f"{name}.nii"] = to_nifti(rewritten(kinds[name], grey, grey > 0), volume.affine)
    return bench.run(files)


def test_one_lesion_however_its_greys_are_written(bench: Bench) -> None:
    expected = segmented(bench, dict.fromkeys(BRAIN, "plain"))
    lesion = expected.labels() > 0
    assert np.count_nonzero(lesion) > 1000
    assert not any("background" in warning for warning in expected.outcome.warnings)
    for kinds in (
        ("z-scores, 0 outside", "z-scores, 0 outside"),
        ("z-scores, NaN outside", "z-scores, -1024 outside"),
        ("plain", "z-scores in bytes, 128 outside"),
        ("a millionth, -1 outside", "-1 to 1, -1 outside"),
    ):
        done = segmented(bench, dict(zip(BRAIN, kinds, strict=True)))
        found = done.labels() > 0
        dice = 2 * np.count_nonzero(found & lesion) / (np.count_nonzero(found) + np.count_nonzero(lesion))
        assert dice > LEAST_DICE, kinds
        assert np.count_nonzero(found) == pytest.approx(np.count_nonzero(lesion), rel=VOLUME_TOLERANCE), kinds
        assert done.report()["warnings"] == list(done.outcome.warnings)
        told = [warning for warning in done.outcome.warnings if "background" in warning]
        assert {warning.partition(":")[0] for warning in told} >= {
            name for name, kind in zip(BRAIN, kinds, strict=True) if kind != "plain"
        }


def test_a_volume_that_is_inverted_with_its_air_is_refused_by_its_part(bench: Bench) -> None:
    volume = BRAIN["flair"]
    with pytest.raises(UnusableVolume, match="inverted") as caught:
        bench.run({"flair.nii": to_nifti((volume.voxels.max() - volume.voxels).astype(np.int16), volume.affine)})
    assert caught.value.errors[0].pointer == "part/flair"


def test_a_constant_volume_is_refused(bench: Bench) -> None:
    with pytest.raises(UnusableVolume, match="same value"):
        bench.run({"flair.nii": to_nifti(np.full((64, 64, 24), 7, np.int16), make_affine(shape=(64, 64, 24)))})


@pytest.mark.slow
def test_a_volume_of_full_size_is_measured_right(bench: Bench) -> None:
    """240 x 240 x 155 voxels: sums over as many in float32 are per cents off; millilitres are those of the labels."""
    brain = make_brain()
    shape = (240, 240, 155)
    affine = make_affine(shape=shape)
    files = {}
    for name in BRAIN:
        small = brain[name]
        whole = np.zeros(shape, np.float32)
        # 1.5 x 1.5 x 3 mm to 1 mm by repeating slices: 96 x 112 x 96 voxels, and in plane as they are.
        deep = np.repeat(small.voxels, 3, axis=2)
        whole[60:156, 60:172, 20:116] = deep
        files[f"{name}.nii.gz"] = to_nifti(whole, affine, compress=True)
    # Whether such a head may be believed is another matter.
    done = bench.run(files, experimental=True)
    labels = done.labels()
    assert labels.shape == shape
    region = done.report()["regions"]["whole_tumor"]
    assert region["voxels"] == np.count_nonzero(labels) > 1000
    assert region["volume_ml"] == pytest.approx(np.count_nonzero(labels) / 1000, abs=1e-3)
