"""Simulated anatomy: what is painted is where it is said to be, and shines as it does in each sequence."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.anatomy import SEQUENCES, Frame, Head, Tumour, simulate

FRAME = Frame(side=128, spacing=2.0)
RING = Tumour("ring", centre=(30, 0, 10), radii=(18, 18, 18), swelling=10, push=4, seed=2)
SOLID = Tumour("solid", centre=(-54, 0, 10), radii=(16, 20, 16), swelling=3, push=4, seed=2)


@pytest.fixture(scope="module")
def head() -> Head:
    """An egg of white matter in grey matter, 1 mm, with the axes and the origin of the template."""
    origin = (-90.0, -126.0, -10.0)
    x, y, z = (np.arange(count) + start for count, start in zip((181, 217, 41), origin, strict=True))
    radius = np.sqrt((x[:, None, None] / 68) ** 2 + ((y[None, :, None] + 18) / 86) ** 2 + (z[None, None, :] / 200) ** 2)
    white = (radius < 0.85).astype(np.float32)
    grey = ((radius < 1) & (radius >= 0.85)).astype(np.float32)
    return Head(0.85 * white + 0.6 * grey, grey, white, origin)


def at(x: float, y: float) -> tuple[slice, slice]:
    """The pixels around a point, (5, 5), as ``Frame`` lays them."""
    column, row = (round((FRAME.side - 1) / 2 - value / FRAME.spacing) for value in (x, y + 18))
    return slice(row - 2, row + 3), slice(column - 2, column + 3)


def test_a_ring_has_a_dark_core_and_shines_with_contrast_only(head: Head) -> None:
    seen = simulate(head, 10, RING, FRAME, skull=True, seed=1)
    plain = simulate(head, 10, None, FRAME, skull=True, seed=1)
    core, wall, mirrored = at(30, 0), at(30, 14), at(-30, 0)
    assert seen["t1ce"][core].mean() < 0.5 * plain["t1ce"][core].mean()
    assert seen["t1ce"][wall].max() > 1.4 * plain["t1ce"][wall].max()
    assert seen["t1"][wall].max() < plain["t1"][wall].max()
    assert seen["t2"][core].mean() > 1.8 * plain["t2"][core].mean()
    assert seen["flair"][mirrored].mean() == pytest.approx(plain["flair"][mirrored].mean(), rel=0.1)


def test_a_meningioma_is_even_and_ends_at_the_skull(head: Head) -> None:
    seen = simulate(head, 10, SOLID, FRAME, skull=True, seed=1)["t1ce"]
    plain = simulate(head, 10, None, FRAME, skull=True, seed=1)["t1ce"]
    inside, bone = at(-54, 0), at(-74, 0)
    assert seen[inside].mean() > 1.3 * plain[inside].mean()
    assert seen[inside].std() < 0.15
    assert seen[bone].mean() == pytest.approx(plain[bone].mean(), abs=0.05)


def test_without_the_skull_all_is_black_outside_of_the_brain(head: Head) -> None:
    bare = simulate(head, 10, None, FRAME, skull=False, seed=1)
    whole = simulate(head, 10, None, FRAME, skull=True, seed=1)
    outside = at(0, 78)
    for name in SEQUENCES:
        assert not bare[name][outside].any()
        assert whole[name][outside].max() > 0.2
        assert np.mean(bare[name] > 0) == pytest.approx(np.pi * 68 * 86 / 256**2, rel=0.1)


def test_the_same_seed_makes_the_same_pixels(head: Head) -> None:
    one, two, other = (simulate(head, 10, RING, FRAME, skull=True, seed=seed)["t2"] for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
