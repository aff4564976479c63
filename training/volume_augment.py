"""Batched augmentation of patches of volumes: geometry in one resampling, then grey values. Axes are right, anterior,
superior."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.config import VolumeAugmentation


def _uniform(count: int, low: float, high: float, like: Tensor) -> Tensor:
    return torch.empty(count, device=like.device).uniform_(low, high)


def _turns(degrees: Tensor, axis: int) -> Tensor:
    """Rotations (N, 3, 3) about one axis."""
    radians = degrees * (math.pi / 180)
    first, second = [other for other in range(3) if other != axis]
    matrix = torch.eye(3, device=degrees.device).repeat(len(degrees), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = torch.cos(radians)
    matrix[:, first, second] = -torch.sin(radians)
    matrix[:, second, first] = torch.sin(radians)
    return matrix


def random_affines(count: int, settings: VolumeAugmentation, like: Tensor) -> Tensor:
    """(N, 3, 3): where a place of the patch, from its centre, is looked up in the scan. Axes as in the scan."""
    tilt, turn = settings.tilt_deg, settings.rotation_deg
    matrix = _turns(_uniform(count, -turn, turn, like), 2)
    for axis in (0, 1):
        matrix = matrix @ _turns(_uniform(count, -tilt, tilt, like), axis)
    mirror = torch.ones(count, 3, device=like.device)
    mirror[:, 0] = torch.where(_uniform(count, 0, 1, like) < settings.flip, -1.0, 1.0)
    plane = 1 / _uniform(count, *settings.zoom, like)
    low, high = (math.log(bound) for bound in settings.stretch)
    height = plane * torch.exp(-_uniform(count, low, high, like))
    scale = torch.stack([plane, plane, height], dim=1)
    # Slices are stretched along the scan's own axis, so after the turns.
    return scale[:, :, None] * (matrix * mirror[:, None])


def resample(blocks: Tensor, side: int, settings: VolumeAugmentation) -> Tensor:
    """Patches (N, C, side, side, side) out of the middle of blocks (N, C, B, B, B), black beyond them."""
    count, channels = blocks.shape[:2]
    matrices = random_affines(count, settings, blocks) * (side / blocks.shape[-1])
    # affine_grid names axes from the last to the first.
    theta = torch.cat([matrices.flip(1, 2), torch.zeros(count, 3, 1, device=blocks.device)], dim=2)
    grid = functional.affine_grid(theta, [count, channels, side, side, side], align_corners=False)
    return functional.grid_sample(blocks, grid, align_corners=False)


def change_greys(images: Tensor, settings: VolumeAugmentation) -> Tensor:
    """Gamma, brightness, noise and a bias field for each patch and channel; (N, C, ...) in [0, 1] -> the same."""
    count, channels = images.shape[:2]
    shape = (count, channels, 1, 1, 1)
    gamma = torch.exp(torch.randn(shape, device=images.device) * settings.gamma)
    factor = 1 + torch.randn(shape, device=images.device) * settings.brightness
    deviation = _uniform(count, 0, settings.noise, images).view(count, 1, 1, 1, 1)
    changed = images.clamp(min=1e-4) ** gamma * factor + torch.randn_like(images) * deviation
    points = torch.randn(count, channels, 3, 3, 3, device=images.device) * settings.bias_field
    field = torch.exp(functional.interpolate(points, size=images.shape[2:], mode="trilinear", align_corners=True))
    return (changed * field).clamp(0, 1)
