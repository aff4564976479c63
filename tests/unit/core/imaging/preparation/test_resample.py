"""Resampling, blurring and averaging give what scipy.ndimage gives, to the last bit."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from core.imaging.preparation.foreground import _averaged
from core.imaging.preparation.resample import LINEAR, NEAREST, resample_to, scaled, smoothed
from core.imaging.volume import Grid, Volume
from tests.fixtures.volumes import ORIENTATIONS, make_affine

Shape = tuple[int, int, int]


def check_same(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    if platform.machine() == "x86_64":
        assert np.array_equal(found, expected)
    else:  # Compilers may round once for a product and a sum there, where numpy rounds twice.
        assert np.allclose(found, expected, rtol=1e-6 if found.dtype == np.float32 else 1e-12, atol=1e-9)


shapes = st.tuples(*[st.integers(1, 14)] * 3)
steps = st.tuples(*[st.just(1.0) | st.floats(0.2, 5.0)] * 3)


def noise(shape: Shape, seed: int, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    return (np.random.default_rng(seed).normal(size=shape) * 300 + 100).astype(dtype)


@settings(deadline=None, max_examples=150)
@given(source=shapes, target=shapes, step=steps, seed=st.integers(0, 99), turned=st.booleans())
def test_scaling_is_that_of_scipy(
    source: Shape, target: Shape, step: tuple[float, float, float], seed: int, turned: bool
) -> None:
    # float64, so that no rounding of the result hides a difference.
    voxels = noise(source, seed).T if turned else noise(source, seed)
    i, j, k = ((n - 1) / 2 - size * (m - 1) / 2 for n, m, size in zip(voxels.shape, target, step, strict=True))
    for order, values in ((LINEAR, voxels), (NEAREST, voxels.astype(np.uint8))):
        expected = ndimage.affine_transform(
            values, np.asarray(step), (i, j, k), output_shape=target, order=order, mode="nearest", prefilter=False
        )
        found = scaled(values, step, (i, j, k), target, order=order)
        assert found.dtype == values.dtype
        check_same(found, expected)


@pytest.mark.parametrize("size", [1.0, 1.2, 1.6, 2.0, 3.4, 7.7])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_smoothing_is_that_of_scipy(size: float, axis: int) -> None:
    voxels = noise((13, 5, 9), 3, np.float32)
    i, j, k = (size if other == axis else 1.0 for other in range(3))
    expected = voxels
    if size > 1:
        expected = ndimage.gaussian_filter1d(voxels, (size - 1) / 2, axis, mode="nearest", truncate=2.0)
    check_same(smoothed(voxels, (i, j, k)), expected)


@settings(deadline=None, max_examples=60)
@given(shape=shapes, seed=st.integers(0, 99))
def test_the_mean_of_27_voxels_is_that_of_scipy(shape: Shape, seed: int) -> None:
    voxels = noise(shape, seed, np.float32)
    check_same(_averaged(voxels), ndimage.uniform_filter(voxels, 3, mode="nearest"))


@settings(deadline=None, max_examples=60)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    spacing=st.tuples(*[st.floats(0.7, 1.5)] * 3),
    tilt=st.floats(-30, 30),
    seed=st.integers(0, 99),
    order=st.sampled_from([LINEAR, NEAREST]),
)
def test_turned_grids_are_read_as_scipy_reads_them(
    orientation: str, spacing: tuple[float, float, float], tilt: float, seed: int, order: int
) -> None:
    source = make_affine(orientation, spacing, (9, 12, 7), tilt)
    grid = Grid((11, 8, 10), make_affine("RAS", (1.0, 1.0, 1.0), (11, 8, 10)))
    to_voxels = (np.linalg.inv(source) @ grid.affine).round(9)
    i, j, k = np.abs(to_voxels[:3, :3]).max(axis=1)
    # Where nothing is blurred, float64 hides no difference.
    dtype = np.float32 if order == LINEAR and max(i, j, k) > 1 else np.float64
    voxels = noise((9, 12, 7), seed, dtype)
    padded = np.pad(smoothed(voxels, (i, j, k)) if order == LINEAR else voxels, 1, mode="edge")
    expected = ndimage.affine_transform(
        padded, to_voxels[:3, :3], to_voxels[:3, 3] + 1, output_shape=grid.shape, order=order, prefilter=False
    )
    at = np.moveaxis(np.indices(grid.shape), 0, -1) @ to_voxels[:3, :3].T + to_voxels[:3, 3]
    # Half a voxel beyond the outermost centres; on the border itself either answer is right.
    inside = ((at > -0.499) & (at < np.asarray(voxels.shape) - 0.501)).all(axis=-1)
    found = resample_to(Volume(voxels, source), grid, order=order).voxels
    check_same(found[inside], expected[inside])
