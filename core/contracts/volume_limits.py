"""What a volume may cost, and what it must have, before a single voxel of it is read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

from core.errors import InputTooLarge, TooFewSlices, UnusableVolume

# Directions of a sound grid are perpendicular; registration tools leave shears of a degree or two.
_LARGEST_COSINE: Final = 0.1
# No scanner's bore is longer, and float32 affines are still exact to a micrometre here.
_LARGEST_OFFSET_MM: Final = 10_000.0


@dataclass(frozen=True, slots=True)
class VolumeLimits:
    """Bounds on one sequence.

    ``max_bytes`` is the size of a file as uploaded, ``max_extension_bytes`` that of everything between a NIfTI header
    and its voxels. ``max_voxels`` and ``max_side`` bound the grid (64 Mi voxels are 256 MiB of float32), ``min_slices``
    its shortest axis and ``min_side`` the two others. Spacings are in mm.
    """

    max_bytes: int = 512 * 1024 * 1024
    max_extension_bytes: int = 16 * 1024 * 1024
    max_voxels: int = 64 * 1024 * 1024
    max_side: int = 2_048
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

    def fault_of(self, affine: Sequence[Sequence[float]]) -> str | None:
        """What is wrong with the rows (4, 4) of an affine in mm, in words; None where it is sound."""
        if not all(math.isfinite(value) for row in affine for value in row):
            return "holds values that are not numbers"
        *axes, origin = zip(*affine[:3], strict=True)
        spacing = [math.hypot(*axis) for axis in axes]
        if min(spacing) < self.min_spacing_mm or max(spacing) > self.max_spacing_mm:
            return f"has a voxel spacing outside {self.min_spacing_mm} to {self.max_spacing_mm} mm"
        directions = [[value / size for value in axis] for axis, size in zip(axes, spacing, strict=True)]
        if any(
            abs(sum(map(mul, one, other))) > _LARGEST_COSINE for one, other in itertools.combinations(directions, 2)
        ):
            return "has axes that are not perpendicular"
        if max(map(abs, origin)) > _LARGEST_OFFSET_MM:
            return f"has an origin further away than {_LARGEST_OFFSET_MM:.0f} mm"
        return None
