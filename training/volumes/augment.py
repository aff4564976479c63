"""Batched geometric augmentation of patches of volumes, in one resampling. Axes are right, anterior, superior.

Grey values are changed as those of slices are, by ``training.loop.augment.change_greys``, and as other pipelines write
them, by ``training.volumes.pipelines``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from core.imaging.volume import Shape, Spacing
from training.config import VolumeAugmentation
from training.loop.augment import uniform

# Random shifts of a patch along each axis.
_POINTS = 4


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
    height = torch.ones_like(plane)
    if settings.stretch is not None:
        low, high = (math.log(bound) for bound in settings.stretch)
        height = plane * torch.exp(-uniform(count, low, high, like))
    scale = torch.stack([plane, plane, height], dim=1)
    # Slices are stretched along the scan's own axis, so after the turns.
    return scale[:, :, None] * (matrix * mirror[:, None])


def block_shape(window: Shape, settings: VolumeAugmentation) -> Shape:
    """Voxels of the block that a patch is resampled from: the largest that a patch can show along each axis.

    Tilt is left out of it: what a tilted patch sees beyond its block is black.
    """
    i, j, k = window
    cosine, sine = (f(math.radians(settings.rotation_deg)) for f in (math.cos, math.sin))
    smallest = settings.zoom[0]
    height = 1.0 if settings.stretch is None else smallest * settings.stretch[0]
    sides = ((i * cosine + j * sine) / smallest, (j * cosine + i * sine) / smallest, k / height)
    # Shifts are of millimetres, and voxels of one at least.
    beyond = 2 * settings.elastic_mm
    margins = (beyond, beyond, 0.0 if settings.stretch is None else beyond)
    right, anterior, superior = (math.ceil(side / 2 + more) * 2 for side, more in zip(sides, margins, strict=True))
    return right, anterior, superior


def elastic_shifts(like: Tensor, window: Shape, settings: VolumeAugmentation) -> Tensor:
    """(N, *window, 3): by how many mm each place of a patch is looked up elsewhere, axes as in the scan."""
    count = len(like)
    amplitude = uniform(count, 0, settings.elastic_mm, like).view(-1, 1, 1, 1, 1)
    points = torch.randn(count, 3, *[_POINTS] * 3, device=like.device) * amplitude
    if settings.stretch is None:
        points[:, 2] = 0
    shifts = functional.interpolate(points, size=window, mode="trilinear", align_corners=True)
    return shifts.permute(0, 2, 3, 4, 1)


def resample(blocks: Tensor, window: Shape, spacing_mm: Spacing, settings: VolumeAugmentation) -> Tensor:
    """Patches (N, C, *window) out of the middle of blocks (N, C, I, J, K) of such voxels, black beyond them."""
    count, channels = blocks.shape[:2]
    # Turns are turns in mm, and ``affine_grid`` counts in half sides.
    half_patch_mm, half_block_mm = (
        torch.tensor([side * mm / 2 for side, mm in zip(sides, spacing_mm, strict=True)], device=blocks.device)
        for sides in (window, blocks.shape[2:])
    )
    matrices = random_affines(count, settings, blocks) * half_patch_mm / half_block_mm[:, None]
    # affine_grid names axes from the last to the first.
    theta = torch.cat([matrices.flip(1, 2), torch.zeros(count, 3, 1, device=blocks.device)], dim=2)
    grid = functional.affine_grid(theta, [count, channels, *window], align_corners=False)
    if settings.elastic_mm > 0:
        grid = grid + (elastic_shifts(blocks, window, settings) / half_block_mm).flip(4)
    return functional.grid_sample(blocks, grid, align_corners=False)
