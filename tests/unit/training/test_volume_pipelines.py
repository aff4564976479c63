"""Patches as other pipelines and scanners leave them, against what each of these does by definition."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from training.config import VolumeAugmentation
from training.data.scans import PreparedScan
from training.loop.augment import apply_curves
from training.volumes.augment import elastic_shifts
from training.volumes.pipelines import STEPS, fields_of_view, random_curves, thick_slices

NONE = VolumeAugmentation(elastic_mm=0, scaled=0, clipped=0, matched=0, mixed=0, coarse=0, cut=0)
MM = (1.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same, on one thread."""
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def scan(power: float) -> PreparedScan:
    """Four sequences whose greys are even draws to a power, with air around them; the last one is absent."""
    greys = np.random.default_rng(int(10 * power)).random((4, 60, 60, 60)) ** power
    images = np.rint(1 + 254 * greys).astype(np.uint8)
    images[:, :20] = 0
    images[3] = 0
    return PreparedScan(images, np.zeros((1, 60, 60, 60), np.uint8), np.zeros((0, 3), np.intp))


def changed(images: np.ndarray, curves: np.ndarray) -> np.ndarray:
    greys = torch.from_numpy(images.astype(np.float32) / 255)[None]
    return np.asarray(apply_curves(greys, torch.from_numpy(curves)[None])[0].numpy())


def test_plain_curves_change_nothing() -> None:
    plain = scan(1.0)
    found = changed(plain.images, random_curves(plain.quantiles, scan(2.0).quantiles, NONE))
    np.testing.assert_allclose(found, plain.images / 255, atol=1e-5)


def test_a_histogram_is_matched_to_that_of_another_scan() -> None:
    own, other = scan(1.0), scan(2.0)
    curves = random_curves(own.quantiles, other.quantiles, dataclasses.replace(NONE, matched=1))
    found = changed(own.images, curves)
    shares = np.linspace(0.05, 0.95, 10)
    for channel in range(3):
        inside = own.images[channel] > 0
        expected = np.quantile(other.images[channel][other.images[channel] > 0] / 255, shares)
        np.testing.assert_allclose(np.quantile(found[channel][inside], shares), expected, atol=0.03)
    assert not found[:, :20].any()
    # What is absent has no histogram, and stays absent.
    assert not found[3].any()


def test_what_is_clipped_is_the_brightest_and_the_darkest() -> None:
    own = scan(1.0)
    for _ in range(5):
        curves = random_curves(own.quantiles, own.quantiles, dataclasses.replace(NONE, clipped=1, clip=0.2))
        found = changed(own.images, curves)[0][own.images[0] > 0]
        assert 0 < (found > 0.999).mean() < 0.22
        assert 0 < (found < 0.001).mean() < 0.22
        between = (found > 0.01) & (found < 0.99)
        # In between it is a straight line.
        before = own.images[0][own.images[0] > 0][between] / 255
        assert np.corrcoef(before, found[between])[0, 1] > 0.999


def test_scales_differ_at_both_ends_and_surroundings_stay_black() -> None:
    own = scan(1.0)
    settings = dataclasses.replace(NONE, scaled=1, ends=0.1)
    curves = np.stack([random_curves(own.quantiles, own.quantiles, settings)[0] for _ in range(200)])
    assert curves.shape == (200, STEPS)
    slopes = (curves[:, 140] - curves[:, 100]) / (40 / 255)
    assert 1 / 1.2 <= slopes.min() < 0.9 < 1.1 < slopes.max() <= 1 / 0.8 + 1e-4
    assert (np.diff(curves, axis=1) >= 0).all()
    assert not changed(own.images, np.repeat(curves[:1] + 0.1, 4, axis=0))[:, :20].any()


def test_sequences_come_in_one_way_or_each_in_its_own() -> None:
    own = scan(1.0)
    settings = dataclasses.replace(NONE, scaled=0.5)
    alike = [random_curves(own.quantiles, own.quantiles, settings) for _ in range(100)]
    plain = np.linspace(0, 1, STEPS, dtype=np.float32)
    left = np.array([[np.array_equal(curve, plain) for curve in curves] for curves in alike])
    assert (left.all(axis=1) | ~left.any(axis=1)).all()
    assert 0.3 < left.all(axis=1).mean() < 0.7
    mixed = dataclasses.replace(settings, mixed=1)
    each = [random_curves(own.quantiles, own.quantiles, mixed) for _ in range(100)]
    left = np.array([[np.array_equal(curve, plain) for curve in curves] for curves in each])
    assert 0.05 < (left.any(axis=1) & ~left.all(axis=1)).mean() > 0.5


def test_a_thick_slice_is_the_mean_of_thin_ones() -> None:
    images = torch.rand(6, 2, 12, 12, 24)
    settings = dataclasses.replace(NONE, coarse=1, coarse_mm=(6.0, 6.0))
    found = thick_slices(images, MM, settings)
    for before, after in zip(images, found, strict=True):
        kept = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
        assert not all(kept)
        for one, other in zip(before, after, strict=True):
            if torch.equal(one, other):
                continue
            along = [float(other.diff(dim=axis).abs().mean() / one.diff(dim=axis).abs().mean()) for axis in range(3)]
            # Smooth along the one axis that the slices are thick along.
            assert sum(ratio < 0.2 for ratio in along) == 1
            torch.testing.assert_close(other.mean(), one.mean(), atol=0.01, rtol=0)
    # Slices that are thicker already stay.
    assert torch.equal(thick_slices(images, (8.0, 8.0, 8.0), settings), images)
    assert torch.equal(thick_slices(images, MM, NONE), images)


def test_a_field_of_view_ends_at_one_side() -> None:
    images = torch.rand(40, 4, 20, 20, 20)
    seen = fields_of_view(images, dataclasses.replace(NONE, cut=1, cut_depth=0.5))
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    depths = []
    for sample in seen:
        for channel in sample:
            lost = channel == 0
            if not lost.any():
                continue
            planes = [lost.flatten(1).all(dim=1), lost.movedim(1, 0).flatten(1).all(dim=1), lost.movedim(2, 0)]
            planes[2] = planes[2].flatten(1).all(dim=1)
            (whole,) = (plane for plane in planes if plane.any())
            assert int(lost.sum()) == int(whole.sum()) * 400
            assert bool(whole[0]) != bool(whole[-1])
            depths.append(int(whole.sum()))
    assert 0 < min(depths) <= max(depths) <= 10
    assert bool((fields_of_view(images, NONE) == 1).all())


def test_shifts_are_smooth_and_in_millimetres() -> None:
    settings = dataclasses.replace(NONE, elastic_mm=3)
    shifts = elastic_shifts(torch.zeros(200, 1, 1, 1, 1), (16, 16, 16), settings)
    assert shifts.shape == (200, 16, 16, 16, 3)
    # Amplitudes are even draws from 0 to 3 mm; a corner is one of the random points.
    assert float(shifts[:, 0, 0, 0].std()) == pytest.approx(3 / 3**0.5, rel=0.15)
    assert float(shifts.diff(dim=1).abs().max()) < float(shifts.abs().max()) / 1.5
    flat = elastic_shifts(torch.zeros(5, 1, 1, 1, 1), (16, 16, 16), dataclasses.replace(settings, stretch=None))
    assert not flat[..., 2].any()
    assert flat[..., :2].all()
