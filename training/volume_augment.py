"""Batched geometric augmentation of patches of volumes, in one resampling. Axes are right, anterior, superior.

Grey values are changed as those of slices are, by ``training.augment.change_greys``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.augment import uniform
from training.config import VolumeAugmentation


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
    matrix = _turns(uniform(count, -turn, turn, like), 2)
    for axis in (0, 1):
        matrix = matrix @ _turns(uniform(count, -tilt, tilt, like), axis)
    mirror = torch.ones(count, 3, device=like.device)
    mirror[:, 0] = torch.where(uniform(count, 0, 1, like) < settings.flip, -1.0, 1.0)
    plane = 1 / uniform(count, *settings.zoom, like)
    low, high = (math.log(bound) for bound in settings.stretch)
    height = plane * torch.exp(-uniform(count, low, high, like))
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
