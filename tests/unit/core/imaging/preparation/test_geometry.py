"""Canonical axes and working grids: every orientation, odd sizes and unequal spacings, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.imaging.preparation.geometry import Reorientation, WorkingSpace, is_canonical
from core.imaging.volume import Bounds, Grid, bounds_of
from tests.fixtures.volumes import ORIENTATIONS, make_affine, nibabel, points_mm

SHAPE = (7, 10, 5)
SIDES = st.tuples(st.integers(9, 21), st.integers(9, 21), st.integers(9, 21))


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("tilt", [0.0, 25.0])
def test_turning_keeps_every_voxel_where_it_is(orientation: str, tilt: float) -> None:
    affine = make_affine(orientation, (1.0, 2.0, 3.0), SHAPE, tilt)
    turn = Reorientation.of(affine)
    grid = turn.turn(Grid(SHAPE, affine))
    # The coordinates themselves serve as voxels.
    for axis in range(3):
        mm = points_mm(SHAPE, affine)[..., axis]
        assert np.allclose(turn.apply(mm), points_mm(grid.shape, grid.affine)[..., axis])
        assert np.array_equal(turn.undo(turn.apply(mm)), mm)
    assert is_canonical(grid.affine)
    assert nibabel.aff2axcodes(grid.affine) == ("R", "A", "S")
    assert is_canonical(affine) == (orientation == "RAS")


@settings(max_examples=200, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    spacing=st.tuples(*[st.floats(0.1, 15.0)] * 3),
    tilt=st.sampled_from([0.0, 45.0, 90.0]) | st.floats(0, 180),
    shears=st.tuples(*[st.floats(-0.1, 0.1)] * 3),
)
def test_axes_are_told_as_nibabel_tells_them(
    orientation: str, spacing: tuple[float, float, float], tilt: float, shears: tuple[float, float, float]
) -> None:
    sheared = np.eye(4)
    sheared[[0, 0, 1], [1, 2, 2]] = shears
    affine = make_affine(orientation, spacing, SHAPE, tilt) @ sheared
    told = nibabel.io_orientation(affine)
    turn = Reorientation.of(affine)
    assert turn.axes == tuple(np.argsort(told[:, 0]))
    assert turn.reversed == tuple(told[axis, 1] < 0 for axis in turn.axes)


def test_turning_is_a_view() -> None:
    voxels = np.zeros(SHAPE, np.float32)
    turn = Reorientation.of(make_affine("SLP", shape=SHAPE))
    turn.apply(voxels)[0, 0, 0] = 1
    assert voxels.sum() == 1
    assert np.shares_memory(turn.undo(turn.apply(voxels)), voxels)


@settings(max_examples=60, deadline=None)
@given(orientation=st.sampled_from(ORIENTATIONS), shape=SIDES, seed=st.integers(0, 99), data=st.data())
def test_without_resampling_everything_comes_back_exactly(
    orientation: str, shape: tuple[int, int, int], seed: int, data: st.DataObject
) -> None:
    grid = Grid(shape, make_affine(orientation, (1.0, 1.02, 0.97), shape, tilt_degrees=seed % 30))
    turned = Reorientation.of(grid.affine).turn(grid).shape
    start = tuple(data.draw(st.integers(0, 3)) for _ in range(3))
    stop = tuple(side - data.draw(st.integers(0, 3)) for side in turned)
    space = WorkingSpace.over(grid, Bounds((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))
    assert not space.resampled
    voxels = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    back = space.restore(space.extract(voxels), outside=-9)
    inside = back != -9
    assert np.array_equal(back[inside], voxels[inside])
    assert np.count_nonzero(inside) == np.prod(space.shape)
    labels = (voxels > 0).astype(np.uint8)
    assert np.array_equal(space.restore_labels(space.extract(labels).astype(np.uint8))[inside], labels[inside])


@settings(max_examples=60, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    shape=SIDES,
    spacing=st.tuples(*[st.floats(0.4, 4.0)] * 3),
    tilt=st.floats(0, 40),
)
def test_with_resampling_places_in_the_patient_are_kept(
    orientation: str, shape: tuple[int, int, int], spacing: tuple[float, float, float], tilt: float
) -> None:
    """A linear field is reproduced by linear interpolation, so each working voxel must read its own place in mm."""
    grid = Grid(shape, make_affine(orientation, spacing, shape, tilt))
    space = WorkingSpace.over(grid, spacing_mm=1.0)
    for own in space.grid.spacing_mm:
        assert own == pytest.approx(1.0, rel=0.051)
    first, second, third = space.shape
    middle = np.s_[first // 3 : -(first // 3), second // 3 : -(second // 3), third // 3 : -(third // 3)]
    for axis in range(3):
        field = points_mm(shape, grid.affine)[..., axis].astype(np.float32)
        seen = space.extract(field)
        there = points_mm(space.shape, space.grid.affine)[..., axis]
        assert np.allclose(seen[middle], there[middle], rtol=0, atol=0.05 * max(spacing) + 1e-3)


def test_resampling_back_reads_each_place_again() -> None:
    shape = (21, 19, 9)
    grid = Grid(shape, make_affine("PIR", (0.7, 1.3, 4.0), shape, 10))
    space = WorkingSpace.over(grid, spacing_mm=1.0)
    field = points_mm(space.shape, space.grid.affine)[..., 2].astype(np.float32)
    back = space.restore(field)
    assert back.shape == shape
    there = points_mm(shape, grid.affine)[..., 2]
    assert np.allclose(back[2:-2, 2:-2, 1:-1], there[2:-2, 2:-2, 1:-1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_each_axis_has_the_spacing_wanted_for_it(orientation: str) -> None:
    i, j, k = ("RLAPSI".index(letter) // 2 for letter in orientation)
    own, shape = (0.8, 1.0, 1.2), (30, 40, 20)
    grid = Grid((shape[i], shape[j], shape[k]), make_affine(orientation, (own[i], own[j], own[k])))
    space = WorkingSpace.over(grid, spacing_mm=(1.5, 2.0, 3.0))
    assert space.grid.spacing_mm == pytest.approx((1.5, 2.0, 3.0))
    assert space.shape == (16, 20, 8)


def test_thick_slices_are_kept_where_asked_and_thin_ones_are_not() -> None:
    thick, thin = (Grid((12, 12, 10), make_affine("LPS", (1.0, 1.0, mm))) for mm in (7.0, 1.0))
    wanted = (1.5, 1.5, 3.0)
    kept = WorkingSpace.over(thick, spacing_mm=wanted, keep_thick_slices=True)
    assert kept.grid.spacing_mm == pytest.approx((1.5, 1.5, 7.0))
    field = points_mm(thick.shape, thick.affine)[..., 2].astype(np.float32)
    # No slice is mixed with its neighbour, on the way in or back.
    assert np.array_equal(np.unique(kept.extract(field)), np.unique(field))
    assert np.array_equal(kept.restore(kept.extract(field))[6, 6], field[6, 6])
    assert WorkingSpace.over(thick, spacing_mm=wanted).grid.spacing_mm == pytest.approx(wanted)
    assert WorkingSpace.over(thin, spacing_mm=wanted, keep_thick_slices=True).grid.spacing_mm == pytest.approx(wanted)


def test_a_map_of_another_shape_is_a_mistake() -> None:
    space = WorkingSpace.over(Grid(SHAPE, np.eye(4)))
    with pytest.raises(ValueError, match="shape"):
        space.restore(np.zeros((3, 3, 3), np.float32))


def test_bounds_of_a_mask() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    assert bounds_of(mask) is None
    mask[2, 3, 1] = mask[4, 8, 1] = True
    assert bounds_of(mask) == Bounds((2, 3, 1), (5, 9, 2))


def test_bounds_grow_up_to_the_faces_and_unite() -> None:
    bounds = Bounds((1, 4, 2), (3, 6, 3))
    assert bounds.grown((2, 1, 9), SHAPE) == Bounds((0, 3, 0), (5, 7, 5))
    assert bounds.union(Bounds((0, 5, 2), (2, 9, 3))) == Bounds((0, 4, 2), (3, 9, 3))
    assert bounds.shape == (2, 2, 1)


def test_a_grid_knows_its_measures() -> None:
    grid = Grid((4, 5, 6), make_affine("SPL", (1.0, 2.0, 3.0), (4, 5, 6), 33))
    assert grid.spacing_mm == pytest.approx((1.0, 2.0, 3.0))
    assert grid.voxel_mm3 == pytest.approx(6.0)
    assert grid.to_mm((3, 4, 5)) == pytest.approx(-grid.to_mm((0, 0, 0)))
    assert grid.corners_mm().shape == (8, 3)
