"""Random changes keep images and masks together and values in range."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from training.config import Augmentation
from training.loop.augment import augment, bias_field, black_border, change_greys, resample

STILL = Augmentation(rotation_deg=0, zoom=(1, 1), shift=0, flip=0, gamma=0, brightness=0, noise=0)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same changes."""
    torch.manual_seed(0)


def square_on_black(count: int = 16) -> Tensor:
    """(count, 1, 64, 64): a bright square in the upper left."""
    images = torch.zeros(count, 1, 64, 64)
    images[:, :, 14:26, 10:22] = 0.8
    return images


def test_without_changes_nothing_changes() -> None:
    images = torch.rand(4, 2, 32, 32)
    moved, masks = augment(images, images[:, :1], STILL)
    torch.testing.assert_close(moved, images.clamp(min=1e-4), atol=1e-4, rtol=0)
    torch.testing.assert_close(masks, images[:, :1], atol=1e-5, rtol=0)


def test_masks_move_with_their_images() -> None:
    images = square_on_black()
    moved, masks = augment(images, (images > 0).float(), Augmentation(noise=0, gamma=0, brightness=0))
    inside, outside = moved[masks > 0.99], moved[masks < 0.01]
    assert float(inside.min()) > 0.75
    assert float(outside.max()) < 0.05


def test_flips_are_left_to_right_only() -> None:
    images = square_on_black(64)
    moved = resample(images, dataclasses.replace(STILL, flip=0.5))
    columns = moved.sum(dim=(1, 2)).argmax(dim=1)
    assert set(columns.tolist()) <= set(range(10, 22)) | set(range(42, 54))
    assert 10 < int((columns > 32).sum()) < 54
    torch.testing.assert_close(moved.sum(dim=(1, 3)), images.sum(dim=(1, 3)), atol=1e-3, rtol=0)


def test_zoom_and_rotation_stay_in_their_ranges() -> None:
    images = torch.zeros(64, 1, 64, 64)
    images[:, :, 24:40, 24:40] = 1
    areas = resample(images, dataclasses.replace(STILL, zoom=(0.8, 1.25))).sum(dim=(1, 2, 3)) / 256
    assert 0.8**2 * 0.95 < float(areas.min()) < 0.75
    assert 1.4 < float(areas.max()) < 1.25**2 * 1.05


def test_greys_stay_in_range_and_black_stays_black_without_noise() -> None:
    images = square_on_black()
    changed = change_greys(images, Augmentation(noise=0, gamma=0.25, brightness=0.2))
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert float(changed[images == 0].max()) < 0.1
    assert float(changed[:, :, 20, 15].std()) > 0.05


def test_borders_are_blacked_out_to_a_limited_depth() -> None:
    images = torch.ones(200, 1, 100, 100)
    cut = black_border(images, Augmentation(border=0.5, border_depth=0.1))
    untouched = cut.amin(dim=(1, 2, 3)) == 1
    assert 60 < int(untouched.sum()) < 140
    assert bool((cut[:, :, 10:90, 10:90] == 1).all())
    assert bool((cut[~untouched][:, 0, 0, 0] == 0).any())


def test_the_bias_field_is_smooth_and_differs_between_slices_and_channels() -> None:
    field = bias_field(torch.zeros(3, 2, 64, 64), dataclasses.replace(STILL, bias_field=0.2))
    assert field.shape == (3, 2, 64, 64)
    assert float(field.min()) > 0
    steps = (field[..., 1:] - field[..., :-1]).abs().max()
    assert float(steps) < 0.1 < float(field.amax() - field.amin())
    assert not torch.allclose(field[0], field[1])
    assert not torch.allclose(field[:, 0], field[:, 1])
