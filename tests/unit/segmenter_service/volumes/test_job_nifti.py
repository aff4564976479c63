"""Jobs whose NIfTI files say in a doubtful way where they lie, or hold voxels that are no numbers."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest

from core.errors import UnusableVolume
from tests.fixtures.volume_models import make_phantom
from tests.fixtures.volumes import make_affine, to_nifti
from tests.support.nifti_readers import shown
from tests.support.volume_bench import Bench

SHAPE = (31, 27, 25)


@pytest.mark.parametrize(
    "fields",
    [
        {"srow_x": [0] * 4, "srow_y": [0] * 4, "srow_z": [0] * 4},
        {"srow_x": [0] * 4, "srow_y": [0] * 4, "srow_z": [0] * 4, "sform_code": 2},
        {"qoffset_x": 40, "sform_code": 2},
        {"qform_code": 0, "sform_code": 0},
    ],
    ids=["zero sform", "zero sform of code 2", "two forms", "no form"],
)
def test_results_lie_where_the_file_was_taken_to_lie_in_all_tools(bench: Bench, fields: dict[str, Any]) -> None:
    affine = make_affine("LAS", shape=SHAPE)
    volume, labels = make_phantom(SHAPE, affine)
    done = bench.run(
        {"flair.nii.gz": to_nifti(volume.voxels, volume.affine, fields=fields, compress=True)},
        outputs=("backdrop", "probabilities"),
    )
    assert np.array_equal(done.labels(), labels)
    assert len(done.outcome.warnings) == 1
    for name in ("segmentation.nii.gz", "backdrop.nii.gz", "probability_whole_tumor.nii.gz"):
        for tool, seen in shown(gzip.decompress(done.files[name])).items():
            assert seen == pytest.approx(affine, abs=1e-4), (name, tool)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_no_number_around_the_head_is_background_and_in_it_a_refusal(bench: Bench, lost: float) -> None:
    volume, labels = make_phantom()
    around = np.where(volume.voxels == 0, np.float32(lost), volume.voxels)
    done = bench.run({"flair.nii.gz": to_nifti(around, volume.affine)}, outputs=("probabilities",))
    assert np.array_equal(done.labels(), labels)
    assert ["background around the head" in warning for warning in done.outcome.warnings] == [True]
    assert np.isfinite(np.asarray(done.image("probability_whole_tumor.nii.gz").dataobj)).all()
    around[tuple(side // 2 for side in SHAPE)] = lost
    with pytest.raises(UnusableVolume, match="1 voxels inside the head") as caught:
        bench.run({"flair.nii.gz": to_nifti(around, volume.affine)})
    assert caught.value.errors[0].pointer == "part/flair"
