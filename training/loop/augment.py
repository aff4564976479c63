"""Batched augmentation in torch: geometry in one resampling, then grey values. Runs wherever the batch is."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.config import Augmentation, Changes


def uniform(count: int, low: float, high: float, like: Tensor) -> Tensor:
    """Even draws (count,) on the device of ``like``."""
    return torch.empty(count, device=like.device).uniform_(low, high)


def resample(stack: Tensor, settings: Augmentation) -> Tensor:
    """Rotation, shear, zoom, shift and flips of images and masks together: (N, C, S, S) -> the same, black outside."""
    count = len(stack)
    angle = uniform(count, -settings.rotation_deg, settings.rotation_deg, stack) * (math.pi / 180)
    scale = 1 / uniform(count, *settings.zoom, stack)
    mirror = torch.where(uniform(count, 0, 1, stack) < settings.flip, -1.0, 1.0)
    upright = torch.where(uniform(count, 0, 1, stack) < settings.flip_vertical, -1.0, 1.0)
    lean = torch.tan(uniform(count, -settings.shear_deg, settings.shear_deg, stack) * (math.pi / 180))
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    # affine_grid works in [-1, 1], so a shift of the side by a share is twice that share.
    across = uniform(count, -2 * settings.shift, 2 * settings.shift, stack)
    down = uniform(count, -2 * settings.shift, 2 * settings.shift, stack)
    # Where each output place is looked up: rotation x shear x flips of it.
    rows = [
        torch.stack([cosine * mirror, (cosine * lean - sine) * upright, across], 1),
        torch.stack([sine * mirror, (sine * lean + cosine) * upright, down], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(stack.shape), align_corners=False)
    return functional.grid_sample(stack, grid, align_corners=False)


def change_greys(images: Tensor, settings: Changes) -> Tensor:
    """Gamma, brightness, noise and bias field for each sample and channel; (N, C, ...) in [0, 1] -> the same."""
    count, channels, *sides = images.shape
    flat = [1] * len(sides)
    shape = (count, channels, *flat)
    gamma = torch.exp(torch.randn(shape, device=images.device) * settings.gamma)
    factor = 1 + torch.randn(shape, device=images.device) * settings.brightness
    deviation = uniform(count, 0, settings.noise, images).view(count, 1, *flat)
    changed = images.clamp(min=1e-4) ** gamma * factor + torch.randn_like(images) * deviation
    return (changed * bias_field(images, settings)).clamp(0, 1)


def bias_field(images: Tensor, settings: Changes) -> Tensor:
    """Smooth positive factors (N, C, ...) around 1, one field a channel, as uneven coils make them."""
    if settings.bias_field == 0:
        return torch.ones(1, device=images.device)
    sides = images.shape[2:]
    points, mode = ((4, 4), "bicubic") if len(sides) == 2 else ((3, 3, 3), "trilinear")
    field = torch.randn(*images.shape[:2], *points, device=images.device) * settings.bias_field
    return torch.exp(functional.interpolate(field, size=sides, mode=mode, align_corners=True))


def apply_curves(images: Tensor, curves: Tensor) -> Tensor:
    """Each sample's and channel's greys (N, C, ...) in [0, 1] by a curve of its own.

    ``curves`` (N, C, K) are the new greys of K even steps from 0 to 1, with straight lines between them. What is 0, the
    surroundings of the head, stays 0.
    """
    steps = curves.shape[2] - 1
    places = images.flatten(2) * steps
    below = places.floor().clamp(0, steps - 1)
    lower = below.long()
    first, second = curves.gather(2, lower), curves.gather(2, lower + 1)
    changed = first + (second - first) * (places - below)
    return (changed * (places > 0)).view_as(images)


def black_border(images: Tensor, settings: Augmentation) -> Tensor:
    """Edges blacked out to random depths on a random part of the batch; (N, C, S, S) -> the same."""
    count, _, size, _ = images.shape
    chosen = (uniform(count, 0, 1, images) < settings.border).float()
    position = (torch.arange(size, device=images.device) + 0.5) / size
    keep = torch.ones(count, size, size, device=images.device)
    for axis in (0, 1):
        line = position.view(1, -1, 1) if axis == 0 else position.view(1, 1, -1)
        first = (uniform(count, 0, settings.border_depth, images) * chosen).view(-1, 1, 1)
        last = (uniform(count, 0, settings.border_depth, images) * chosen).view(-1, 1, 1)
        keep = keep * (line >= first) * (line <= 1 - last)
    return images * keep[:, None]


def augment(images: Tensor, masks: Tensor, settings: Augmentation) -> tuple[Tensor, Tensor]:
    """Images (N, C, S, S) and masks (N, 1, S, S), both in [0, 1], changed together where geometry is concerned."""
    channels = images.shape[1]
    moved = resample(torch.cat([images, masks], dim=1), settings)
    images, masks = moved[:, :channels], moved[:, channels:]
    images = change_greys(images, settings)
    if settings.border > 0:
        images = black_border(images, settings)
    return images, masks


def mix(values: Tensor, order: Tensor, share: Tensor) -> Tensor:
    """Each sample (N, ...) blended with the one that ``order`` (N,) names; ``share`` (N,) is of itself."""
    weight = share.view(-1, *[1] * (values.ndim - 1))
    return values * weight + values[order] * (1 - weight)
