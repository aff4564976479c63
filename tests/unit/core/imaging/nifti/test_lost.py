"""One voxel that is no number: background is filled and told, in the head the file is refused. Never a network."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UnusableVolume
from core.imaging.nifti.file import NiftiVolume, read_nifti
from core.imaging.nifti.lost import fill_lost
from core.imaging.preparation.volume_transforms import VolumeSpec, prepare_volume
from core.imaging.volume import Volume
from tests.fixtures.volumes import make_affine, make_head, to_nifti

AFFINE = make_affine(shape=(32, 36, 28))
HEAD = make_head().voxels
BRAIN = HEAD != 0
DEEP = scipy.ndimage.binary_erosion(BRAIN)
LOST = [np.nan, np.inf, -np.inf, 1e300]


def read(voxels: npt.NDArray[np.generic]) -> NiftiVolume:
    return read_nifti(io.BytesIO(to_nifti(voxels, AFFINE)))


def prepared(voxels: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return prepare_volume({"flair": read(voxels).volume}, VolumeSpec()).tensor


@settings(deadline=None, max_examples=60)
@given(at=st.tuples(st.integers(0, 31), st.integers(0, 35), st.integers(0, 27)), value=st.sampled_from(LOST))
def test_one_value_at_any_place(at: tuple[int, int, int], value: float) -> None:
    voxels = HEAD.astype(np.float64)
    voxels[at] = value
    if DEEP[at]:
        with pytest.raises(UnusableVolume, match="1 voxels inside the head hold no finite number"):
            read(voxels)
    else:
        # On the surface of the brain nobody can tell.
        found, expected = read(voxels), HEAD.copy()
        expected[at] = HEAD.min()
        assert "1 voxels hold no finite number" in found.warnings[0]
        assert np.array_equal(found.volume.voxels, expected)


def test_values_at_the_border_become_the_smallest_and_are_counted() -> None:
    values = np.arange(17 * 19 * 11, dtype=np.float64).reshape(17, 19, 11) % 251
    values[0, 0, :4] = LOST
    found = read(values)
    assert np.array_equal(found.volume.voxels[0, 0, :4], [0, 0, 0, 0])
    assert "4 voxels" in found.warnings[0]
    assert np.isfinite(found.volume.voxels).all()


@pytest.mark.parametrize("lost", LOST)
def test_nothing_but_nan_around_a_brain_of_z_scores_is_dark(lost: float) -> None:
    """0 is grey there: what lies outside must be what a background of 0 is to plain values."""
    scores = (HEAD.astype(np.float64) - HEAD[BRAIN].mean()) / HEAD[BRAIN].std()
    tensor = prepared(np.where(BRAIN, scores, lost))
    expected = prepared(HEAD)
    assert tensor.shape == expected.shape
    assert tensor == pytest.approx(expected, abs=1e-3)


def test_no_number_at_all_is_refused() -> None:
    with pytest.raises(UnusableVolume, match="No voxel holds a finite number"):
        read(np.full(HEAD.shape, np.nan, np.float32))


def test_one_number_alone_is_refused() -> None:
    voxels = np.full(HEAD.shape, np.nan, np.float32)
    voxels[5, 5, 5] = 3
    with pytest.raises(UnusableVolume, match="same value"):
        read(voxels)


def test_a_scaling_that_leaves_float32_is_no_number_either() -> None:
    voxels = HEAD.astype(np.float64)
    voxels[16, 18, 14] = 1e29
    data = to_nifti(voxels, AFFINE, fields={"scl_slope": 1e9})
    with pytest.raises(UnusableVolume, match="inside the head"):
        read_nifti(io.BytesIO(data))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0, 0), (16, 18, 14)])
def test_preparation_lets_none_pass_wherever_volumes_come_from(value: float, at: tuple[int, int, int]) -> None:
    voxels = HEAD.copy()
    voxels[at] = value
    with pytest.raises(UnusableVolume, match=r"t1ce: .* no finite numbers"):
        prepare_volume({"flair": Volume(HEAD, AFFINE), "t1ce": Volume(voxels, AFFINE)}, VolumeSpec())


@pytest.mark.parametrize("shape", [(1, 16, 16), (16, 1, 16), (16, 16, 1)])
def test_an_axis_of_one_voxel_has_one_corner(shape: tuple[int, int, int]) -> None:
    voxels = np.arange(256, dtype=np.float32).reshape(shape) + 5
    voxels[0, 0, 0] = np.nan
    fill_lost(voxels)
    assert voxels[0, 0, 0] == voxels.min() == 6
