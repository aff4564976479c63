"""What surrounds a head becomes black whatever its value is, and what only looks like it inside the head stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.imaging.components import grown, joined_to_border
from core.imaging.preparation.background import with_dark_background
from core.imaging.preparation.foreground import find_foreground
from core.imaging.preparation.volume_transforms import stretched
from tests.fixtures.volumes import make_head

FloatArray = npt.NDArray[np.float32]

HEAD = make_head((30, 28, 26)).voxels
BRAIN = HEAD != 0
SCORES = ((HEAD - HEAD[BRAIN].mean()) / HEAD[BRAIN].std()).astype(np.float32)


def greys(voxels: FloatArray) -> FloatArray:
    """What a network would be shown, 0 to 1."""
    dark, _ = with_dark_background(voxels)
    return stretched(dark, find_foreground(dark).window(dark, (0.5, 99.8)))


def furthest(found: FloatArray, expected: FloatArray) -> float:
    return float(np.abs(found - expected).max())


PLAIN = greys(HEAD)


def around(value: float, brain: npt.NDArray[Any] = SCORES) -> FloatArray:
    return np.where(BRAIN, brain, value).astype(np.float32)


@pytest.mark.parametrize("voxels", [HEAD, HEAD * 1e-6, HEAD * 1e9, make_head((30, 28, 26), stripped=False).voxels])
def test_what_is_dark_already_is_not_touched(voxels: FloatArray) -> None:
    found, surroundings = with_dark_background(voxels)
    assert found is voxels
    assert surroundings is None


@settings(deadline=None, max_examples=40)
@given(value=st.floats(-2000, 2000, width=32), scale=st.sampled_from([1e-12, 1e-6, 1.0, 50.0, 1e6, 1e20]))
def test_any_value_around_the_head_is_black(value: float, scale: float) -> None:
    found = greys(around(value * scale, SCORES * scale))
    assert not found[~BRAIN].any()
    assert furthest(found[BRAIN], PLAIN[BRAIN]) < 1e-3


@settings(deadline=None, max_examples=40)
@given(scale=st.floats(1e-6, 1e6), offset=st.floats(-50, 50), place=st.floats(0.1, 0.9))
def test_an_affine_map_of_all_values_changes_nothing(scale: float, offset: float, place: float) -> None:
    """With a grey of the head around it."""
    low, high = np.percentile(SCORES[BRAIN], (0.5, 99.8))
    voxels = around(float(low + place * (high - low)))
    moved = ((voxels.astype(np.float64) + offset) * scale).astype(np.float32)
    assert furthest(greys(moved), greys(voxels)) < 1e-3


@settings(deadline=None, max_examples=30)
@given(value=st.floats(-2000, 2000, width=32))
def test_the_result_is_its_own_result(value: float) -> None:
    once, _ = with_dark_background(around(value))
    again, _ = with_dark_background(once)
    assert np.array_equal(again, once)


def test_the_order_of_axes_and_of_memory_makes_no_difference() -> None:
    voxels = around(0.0)
    expected, _ = with_dark_background(voxels)
    for axes in ((2, 1, 0), (1, 2, 0), (0, 2, 1)):
        found, _ = with_dark_background(np.asfortranarray(voxels).transpose(axes)[::-1])
        assert np.array_equal(found, expected.transpose(axes)[::-1])


def test_voxels_of_the_head_that_hold_the_value_stay_greys() -> None:
    """In whole numbers a fiftieth of a brain holds any one value, and its seams lead from the surface inwards."""
    coarse = np.rint(SCORES * 10)
    inside = BRAIN & ~grown(grown(~BRAIN))
    at_value = inside & (coarse == 0)
    assert np.count_nonzero(at_value) > 100
    dark, surroundings = with_dark_background(around(0.0, coarse))
    assert surroundings is not None
    assert np.count_nonzero(dark[at_value] == 0) > 0.9 * np.count_nonzero(at_value)
    assert (dark[~BRAIN] == np.float32(surroundings.black)).all()


def test_a_hole_inside_the_head_is_not_around_it() -> None:
    voxels = around(0.0)
    voxels[13:17, 12:16, 11:15] = 0.0
    dark, surroundings = with_dark_background(voxels)
    assert surroundings is not None
    assert not dark[13:17, 12:16, 11:15].any()
    assert (dark[~BRAIN] == np.float32(surroundings.black)).all()


def test_a_cleft_from_the_surface_is_followed() -> None:
    voxels = around(0.0)
    surface = int(np.flatnonzero(BRAIN[:, 14, 13])[0])
    voxels[surface : surface + 3, 14, 13] = 0.0
    dark, surroundings = with_dark_background(voxels)
    assert surroundings is not None
    assert (dark[surface : surface + 3, 14, 13] == np.float32(surroundings.black)).all()


def test_nothing_of_the_head_reaches_into_an_abyss() -> None:
    """Where -1024 was interpolated with greys of the head, some voxels hold values between them."""
    voxels = around(-1024.0, HEAD)
    rim = tuple(np.argwhere(BRAIN & grown(~BRAIN))[::80].T)
    voxels[rim] = (voxels[rim] - 1024) / 2
    dark, surroundings = with_dark_background(voxels)
    assert surroundings is not None
    assert surroundings.low > 0
    assert dark.min() == np.float32(surroundings.black) > -200
    assert (dark[rim] == dark.min()).all()


def test_whole_numbers_are_read_as_the_same_ones_in_floats() -> None:
    whole: Any = np.where(BRAIN, HEAD.round() + 1000, -1024).astype(np.int16)
    dark, _ = with_dark_background(whole)
    assert dark.dtype == np.float32
    assert (dark == with_dark_background(whole.astype(np.float32))[0]).all()


def test_zero_within_another_fill_is_background_too() -> None:
    """Scores with 0 around the brain that were moved, with -1024 for what came into view."""
    voxels = around(0.0)
    voxels[:3], voxels[-3:], voxels[:, :3], voxels[:, -3:] = -1024, -1024, -1024, -1024
    dark, surroundings = with_dark_background(voxels)
    assert surroundings is not None
    assert surroundings.values == (-1024.0, 0.0)
    assert (dark[~BRAIN] == np.float32(surroundings.black)).all()
    assert np.array_equal(dark[BRAIN & ~grown(~BRAIN)], SCORES[BRAIN & ~grown(~BRAIN)])


def test_a_head_of_one_value_within_a_fill_is_no_background() -> None:
    voxels = np.where(BRAIN, np.float32(100), np.float32(-1024))
    voxels[12:18, 11:17, 10:16] = 300.0
    dark, _ = with_dark_background(voxels)
    assert (dark[BRAIN] >= 100).all()


def test_values_that_interpolation_left_near_the_fill_are_background() -> None:
    ringing = np.random.default_rng(0).normal(0, 0.01, SCORES.shape)
    voxels = np.where(BRAIN, SCORES, ringing).astype(np.float32)
    found = greys(voxels)
    assert np.count_nonzero(found[~grown(grown(BRAIN))]) == 0
    assert np.mean(np.abs(found[BRAIN] - PLAIN[BRAIN]) < 0.02) > 0.95


@pytest.mark.parametrize("level", [0.5, 2.0, 8.0])
def test_noise_of_air_is_left_alone(level: float) -> None:
    """Rician, as in magnitude images: it has nothing below it."""
    first, second = np.random.default_rng(1).normal(0, level, (2, *HEAD.shape))
    voxels = np.rint(np.hypot(HEAD + first, second)).astype(np.float32)
    found, surroundings = with_dark_background(voxels)
    assert found is voxels
    assert surroundings is None


@settings(deadline=None, max_examples=30)
@given(shape=st.tuples(*[st.integers(1, 5)] * 3), seed=st.integers(0, 999), share=st.floats(0.2, 0.9))
def test_what_is_joined_to_the_border_is_what_a_flood_reaches(
    shape: tuple[int, int, int], seed: int, share: float
) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    reached = np.zeros_like(mask)
    reached[[0, -1]], reached[:, [0, -1]], reached[:, :, [0, -1]] = True, True, True
    reached &= mask
    for _ in range(mask.size):
        reached = grown(reached) & mask
    assert np.array_equal(joined_to_border(mask), reached)
    assert np.array_equal(joined_to_border(np.asfortranarray(mask)), reached)
