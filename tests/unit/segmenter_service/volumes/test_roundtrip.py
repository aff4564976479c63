"""A labelled phantom through the whole geometry of a job: file, canonical axes, crop, windows, and back to the file."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts.volume_limits import VolumeLimits
from core.imaging.nifti.file import read_nifti, write_nifti
from core.imaging.preparation.geometry import WorkingSpace
from core.imaging.preparation.volume_transforms import VolumeSpec, prepare_volume
from core.imaging.volume import Volume
from core.runtime.sliding import Blend, WindowPlan
from tests.fixtures.volumes import ORIENTATIONS, make_affine, make_head, make_labels, nibabel, to_nifti

SIDES = st.tuples(*[st.integers(17, 29)] * 3)
LIMITS = VolumeLimits(min_slices=5, min_side=9)


def segmented(head: Volume, labels: np.ndarray, spec: VolumeSpec, window: int) -> np.ndarray:
    """Labels on the head's own grid, as a perfect network would give them: it answers with the phantom's regions."""
    bright = np.where(labels > 0, np.float32(700), head.voxels)
    space = prepare_volume({"flair": Volume(bright, head.affine)}, spec).space
    regions = np.stack([space.extract((labels == label).astype(np.float32)) for label in (1, 2, 3)])
    plan = WindowPlan.over(space.shape, (window, window, window), overlap=0.5)
    blend = Blend(plan, 3)
    for batch in plan.batches(4):
        blend.add(batch, plan.cut(regions, batch))
    probabilities = np.stack([space.restore(channel) for channel in blend.result])
    found: np.ndarray = probabilities.argmax(axis=0).astype(np.uint8) + np.uint8(1)
    # The background's probability is what the regions leave of 1.
    found[probabilities.sum(axis=0) < 0.5] = 0
    return found


def dice(one: np.ndarray, other: np.ndarray) -> float:
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / max(1, total)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_comes_back_on_its_own_voxels(orientation: str) -> None:
    shape = (23, 19, 27)
    affine = make_affine(orientation, shape=shape, tilt_degrees=20)
    labels = make_labels(shape, affine, 6)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert np.array_equal(segmented(make_head(shape, affine), labels, VolumeSpec(), 16), labels)


@settings(max_examples=40, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    shape=SIDES,
    spacing=st.tuples(*[st.floats(0.6, 3.0)] * 3),
    tilt=st.floats(0, 40),
    window=st.integers(7, 32),
)
def test_without_resampling_the_phantom_comes_back_exactly(
    orientation: str, shape: tuple[int, int, int], spacing: tuple[float, float, float], tilt: float, window: int
) -> None:
    affine = make_affine(orientation, spacing, shape, tilt)
    labels = make_labels(shape, affine, 0.35 * min(np.multiply(shape, spacing)))
    assert np.array_equal(segmented(make_head(shape, affine), labels, VolumeSpec(spacing_mm=None), window), labels)


@settings(max_examples=40, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    shape=SIDES,
    spacing=st.tuples(*[st.floats(0.5, 2.0)] * 3),
    tilt=st.floats(0, 40),
)
def test_with_resampling_the_phantom_comes_back_nearly(
    orientation: str, shape: tuple[int, int, int], spacing: tuple[float, float, float], tilt: float
) -> None:
    affine = make_affine(orientation, spacing, shape, tilt)
    labels = make_labels(shape, affine, 0.4 * min(np.multiply(shape, spacing)))
    found = segmented(make_head(shape, affine), labels, VolumeSpec(spacing_mm=1.0), 16)
    assert dice(found > 0, labels > 0) > 0.93
    mirrored = [dice(np.flip(found, axis) > 0, labels > 0) for axis in range(3)]
    assert dice(found > 0, labels > 0) > max(mirrored)


@pytest.mark.parametrize("orientation", ["LPS", "PSR", "IAL"])
@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 3), (0, 0)], ids=str)
def test_from_file_to_file(orientation: str, codes: tuple[int, int]) -> None:
    """What a viewer lays over the input, by the rules of nibabel, covers the lesion and nothing else."""
    shape = (31, 27, 25)
    affine = make_affine(orientation, (1.0, 1.0, 2.0), shape, 15)
    fields = {"qform_code": codes[0], "sform_code": codes[1]}
    head, labels = make_head(shape, affine), make_labels(shape, affine, 9)
    source = to_nifti(head.voxels, affine, fields=fields, compress=True)
    read = read_nifti(io.BytesIO(source), LIMITS)
    written = io.BytesIO()
    write_nifti(written, segmented(read.volume, labels, VolumeSpec(spacing_mm=None), 16), read.geometry)
    files = (gzip.decompress(data) for data in (source, written.getvalue()))
    before, after = (nibabel.Nifti1Image.from_bytes(data) for data in files)
    assert np.array_equal(after.affine, before.affine)
    assert np.array_equal(np.asarray(after.dataobj), labels)


def test_labels_return_by_the_nearest_voxel() -> None:
    shape = (30, 26, 12)
    affine = make_affine("PSL", (0.8, 1.2, 3.0), shape)
    space = WorkingSpace.over(make_head(shape, affine).grid, spacing_mm=1.0)
    fine = make_labels(space.shape, space.grid.affine, 10)
    back = space.restore_labels(fine)
    expected = make_labels(shape, affine, 10)
    assert set(np.unique(back)) == {0, 1, 2, 3}
    assert dice(back > 0, expected > 0) > 0.93
