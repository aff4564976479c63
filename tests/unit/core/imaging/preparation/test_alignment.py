"""Sequences on one grid: what counts as one, what is resampled, what cannot show one head."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import InconsistentGeometry, InvalidRequest, MissingSequence
from core.imaging.preparation.alignment import GRID_TOLERANCE_MM, align, displacement_mm, overlap
from core.imaging.preparation.geometry import Reorientation
from core.imaging.preparation.resample import NEAREST, resample_to
from core.imaging.volume import Grid, Volume
from tests.fixtures.volumes import ORIENTATIONS, make_affine, make_head, make_labels, points_mm

HEAD = make_head((24, 26, 20))


def moved(volume: Volume, mm: float) -> Volume:
    affine = volume.affine.copy()
    affine[0, 3] += mm
    return Volume(volume.voxels, affine)


def test_one_grid_is_left_alone() -> None:
    found = align({"flair": HEAD, "t1": moved(HEAD, GRID_TOLERANCE_MM / 2)})
    assert found.warnings == ()
    assert found.reference == "flair"
    assert found.volumes["t1"].voxels is HEAD.voxels
    assert np.array_equal(found.volumes["t1"].affine, HEAD.affine)


def test_another_grid_is_resampled_and_said_so() -> None:
    found = align({"flair": moved(HEAD, 3.0), "t1ce": HEAD})
    assert found.reference == "t1ce"
    assert found.warnings == ("flair lies on another grid than t1ce and was resampled to it.",)
    # Three voxels to the right: the voxel at i shows what the moved volume has at i - 3.
    assert np.allclose(found.volumes["flair"].voxels[3:], HEAD.voxels[:-3], atol=1e-3)
    assert not found.volumes["flair"].voxels[:2].any()


def test_the_caller_may_name_the_reference() -> None:
    assert align({"flair": HEAD, "t1ce": HEAD}, "flair").reference == "flair"
    with pytest.raises(InvalidRequest):
        align({"flair": HEAD}, "t2")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_same_volume_stored_otherwise_is_the_same_volume(orientation: str) -> None:
    shape = (9, 12, 10)
    target = Grid(shape, make_affine("RAS", (1.0, 1.5, 2.0), shape))
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    # As a file of another orientation keeps it: the canonical order undone.
    affine = make_affine(orientation, shape=shape)
    turn = Reorientation.of(affine)
    stored = np.ascontiguousarray(turn.undo(values))
    back = np.eye(4)
    back[:3] = np.linalg.lstsq(
        np.c_[np.indices(stored.shape).reshape(3, -1).T, np.ones(stored.size)],
        np.stack([turn.undo(points_mm(shape, target.affine)[..., axis]).ravel() for axis in range(3)], axis=1),
        rcond=None,
    )[0].T
    assert np.allclose(resample_to(Volume(stored, back), target).voxels, values, atol=1e-5)


def test_labels_keep_their_values_and_place_on_a_tilted_grid() -> None:
    shape = (40, 40, 40)
    source = Grid(shape, make_affine("LPS", shape=shape))
    target = Grid((30, 50, 40), make_affine("SAR", (1.3, 0.8, 1.0), (30, 50, 40), 30))
    labels = resample_to(Volume(make_labels(shape, source.affine), source.affine), target, order=NEAREST).voxels
    expected = make_labels(target.shape, target.affine)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert np.mean(labels == expected) > 0.99
    assert 2 * np.count_nonzero((labels > 0) & (expected > 0)) / (
        np.count_nonzero(labels) + np.count_nonzero(expected)
    ) == pytest.approx(1.0, abs=0.05)


def test_shrinking_does_not_alias() -> None:
    """Stripes finer than the target can show become their mean, not stripes of another width."""
    shape = (64, 16, 16)
    stripes = np.broadcast_to((np.arange(64) // 2 % 2 * 100.0)[:, None, None], shape).astype(np.float32)
    coarse = Grid((16, 16, 16), make_affine("RAS", (4.1, 1.0, 1.0), (16, 16, 16)))
    found = resample_to(Volume(stripes, make_affine(shape=shape)), coarse).voxels[2:-2]
    assert found.std() < 10
    assert found.mean() == pytest.approx(50, abs=4)


def test_volumes_of_different_places_are_refused() -> None:
    with pytest.raises(InconsistentGeometry, match="overlap") as caught:
        align({"flair": moved(HEAD, 20.0), "t1ce": HEAD})
    assert caught.value.errors[0].pointer == "part/flair"


def test_nothing_is_nothing() -> None:
    with pytest.raises(MissingSequence):
        align({})


def test_displacement_and_overlap() -> None:
    assert displacement_mm(HEAD.grid, moved(HEAD, 2.0).grid) == pytest.approx(2.0)
    assert displacement_mm(HEAD.grid, Grid((1, 2, 3), HEAD.affine)) == float("inf")
    assert overlap(HEAD.grid, HEAD.grid) == 1.0
    assert overlap(HEAD.grid, moved(HEAD, 12.0).grid) == pytest.approx(0.5)
    # A slab within a whole head overlaps fully.
    slab = Grid((24, 26, 5), HEAD.affine)
    assert overlap(HEAD.grid, slab) == 1.0
