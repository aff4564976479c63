"""What a volume may cost, and what it must have, before a single voxel of it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.contracts.jobs import LONGEST_SIDE, MOST_VOXELS
from core.errors import InputTooLarge, TooFewSlices, UnusableVolume
from core.imaging.volume import Affine

# Directions of a sound grid are perpendicular; registration tools leave shears of a degree or two.
_LARGEST_COSINE = 0.1
# No scanner's bore is longer, and float32 affines are still exact to a micrometre here.
_LARGEST_OFFSET_MM = 10_000.0


@dataclass(frozen=True, slots=True)
class VolumeLimits:
    """Bounds on one sequence.

    ``max_bytes`` is the size of a file as uploaded, ``max_extension_bytes`` that of everything between a NIfTI header
    and its voxels. ``max_voxels`` and ``max_side`` bound the grid (64 Mi voxels are 256 MiB of float32), ``min_slices``
    its shortest axis and ``min_side`` the two others. Spacings are in mm.
    """

    max_bytes: int = 512 * 1024 * 1024
    max_extension_bytes: int = 16 * 1024 * 1024
    max_voxels: int = MOST_VOXELS
    max_side: int = LONGEST_SIDE
    min_slices: int = 8
    min_side: int = 16
    min_spacing_mm: float = 0.05
    max_spacing_mm: float = 20.0

    def check_bytes(self, size: int) -> None:
        """Raise ``InputTooLarge`` for a file of more than ``max_bytes``."""
        if size > self.max_bytes:
            raise InputTooLarge(f"The file has more than {self.max_bytes} bytes, which is the limit.")

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """Judge a grid. Raises ``InputTooLarge``, ``TooFewSlices`` or ``UnusableVolume``."""
        shown = "x".join(map(str, shape))
        if max(shape) > self.max_side:
            raise InputTooLarge(f"The volume has {shown} voxels, the longest side allowed is {self.max_side}.")
        if math.prod(shape) > self.max_voxels:
            raise InputTooLarge(f"The volume has {shown} voxels, together more than the limit of {self.max_voxels}.")
        slices, side, _ = sorted(shape)
        if slices < self.min_slices:
            raise TooFewSlices(f"The volume has {shown} voxels, each side needs at least {self.min_slices}.")
        if side < self.min_side:
            raise UnusableVolume(f"The volume has {shown} voxels, a slice needs at least {self.min_side} a side.")

    def fault_of(self, affine: Affine) -> str | None:
        """What is wrong with an affine (4, 4) in mm, in words; None where it is sound."""
        if not np.isfinite(affine).all():
            return "holds values that are not numbers"
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() < self.min_spacing_mm or spacing.max() > self.max_spacing_mm:
            return f"has a voxel spacing outside {self.min_spacing_mm} to {self.max_spacing_mm} mm"
        directions = affine[:3, :3] / spacing
        if np.abs(directions.T @ directions - np.eye(3)).max() > _LARGEST_COSINE:
            return "has axes that are not perpendicular"
        if np.abs(affine[:3, 3]).max() > _LARGEST_OFFSET_MM:
            return f"has an origin further away than {_LARGEST_OFFSET_MM:.0f} mm"
        return None
