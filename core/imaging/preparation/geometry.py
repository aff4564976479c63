"""Where volumes lie: canonical axes, the model's working grid and the exact way back to the input's own grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.imaging.preparation.resample import LINEAR, NEAREST, scaled, smoothed
from core.imaging.volume import Affine, Bounds, FloatArray, Grid, LabelArray, Shape, Spacing

# Spacings within this share of the working spacing are left alone: networks see larger differences among heads.
SPACING_TOLERANCE: Final = 0.05
# A working voxel may be left out when less than this share of it lies in the volume.
_SLIVER: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Reorientation:
    """Axes put in the order right, anterior, superior (RAS), by exchange and reversal only.

    ``axes`` says which axis of the array becomes each canonical one, ``reversed`` whether it runs the other way. A
    tilted volume keeps its tilt: each of its axes stands for the direction of the patient that it is closest to.
    """

    axes: tuple[int, int, int]
    reversed: tuple[bool, bool, bool]

    @classmethod
    def of(cls, affine: Affine) -> Reorientation:
        """The one that makes a volume with ``affine`` canonical."""
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        # Without shears: the rotation or reflection that is closest to the directions of the axes.
        left, _, right = np.linalg.svd(directions)
        turned = left @ right
        axes, backwards = [0, 0, 0], [False, False, False]
        # The axis that is closest to a direction of the patient chooses first; a direction is given once.
        for axis in np.argsort(-(turned**2).max(axis=0), kind="stable").tolist():
            canonical = int(np.argmax(np.abs(turned[:, axis])))
            axes[canonical], backwards[canonical] = axis, bool(turned[canonical, axis] < 0)
            turned[canonical] = 0.0
        return cls((axes[0], axes[1], axes[2]), (backwards[0], backwards[1], backwards[2]))

    def apply(self, voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Voxels (i, j, k) in canonical order (right, anterior, superior): a view, so writing to it writes to both."""
        turned: npt.NDArray[Any] = voxels.transpose(self.axes)[self._steps]
        return turned

    def undo(self, voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Canonical voxels in the order of the array that they came from: a view."""
        i, j, k = (self.axes.index(axis) for axis in range(3))
        return voxels[self._steps].transpose(i, j, k)

    def turn(self, grid: Grid) -> Grid:
        """A grid whose axes are put in canonical order; every voxel stays where it is in mm."""
        to_source = np.zeros((4, 4))
        to_source[3, 3] = 1.0
        for canonical, (axis, backwards) in enumerate(zip(self.axes, self.reversed, strict=True)):
            to_source[axis, canonical] = -1.0 if backwards else 1.0
            to_source[axis, 3] = grid.shape[axis] - 1 if backwards else 0.0
        i, j, k = (grid.shape[axis] for axis in self.axes)
        return Grid((i, j, k), grid.affine @ to_source)

    @property
    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if backwards else 1) for backwards in self.reversed)


def is_canonical(affine: Affine) -> bool:
    """Whether the axes already run right, anterior, superior."""
    return Reorientation.of(affine) == Reorientation((0, 1, 2), (False, False, False))


@dataclass(frozen=True, slots=True, eq=False)
class WorkingSpace:
    """A model's voxels and the input's own grid, and the way between them.

    ``source`` is the input's grid. Its voxels are put in canonical order; ``bounds`` cuts a block out of them; the
    block is resampled to ``shape`` voxels of ``step`` canonical voxels each, on the same centre. A ``step`` of 1 leaves
    an axis as it is; where all are 1, no value is interpolated on the way in or back.
    """

    source: Grid
    reorientation: Reorientation
    bounds: Bounds
    shape: Shape
    step: Spacing

    @classmethod
    def over(
        cls,
        source: Grid,
        bounds: Bounds | None = None,
        spacing_mm: float | Spacing | None = 1.0,
        *,
        keep_thick_slices: bool = False,
    ) -> WorkingSpace:
        """The space over a block of canonical voxels, all of them by default, with ``spacing_mm`` of each axis or all.

        None keeps the input's own spacing, as do axes within ``SPACING_TOLERANCE`` of the spacing wanted. With
        ``keep_thick_slices`` so does the superior axis where its own spacing is larger.
        """
        reorientation = Reorientation.of(source.affine)
        canonical = reorientation.turn(source)
        block = bounds or Bounds.whole(canonical.shape)
        wanted = spacing_mm if isinstance(spacing_mm, tuple) else (spacing_mm,) * 3
        i, j, k = (_step(own, mm) for own, mm in zip(canonical.spacing_mm, wanted, strict=True))
        if keep_thick_slices:
            k = max(1.0, k)
        shape = [max(1, math.ceil(n / step - _SLIVER)) for n, step in zip(block.shape, (i, j, k), strict=True)]
        return cls(source, reorientation, block, (shape[0], shape[1], shape[2]), (i, j, k))

    @property
    def resampled(self) -> bool:
        """Whether values are interpolated."""
        return self.step != (1.0, 1.0, 1.0)

    @property
    def grid(self) -> Grid:
        """The working voxels as a grid in mm."""
        to_canonical = np.diag([*self.step, 1.0])
        to_canonical[:3, 3] = np.add(self.bounds.start, self._offset)
        return Grid(self.shape, self.reorientation.turn(self.source).affine @ to_canonical)

    def extract(self, voxels: npt.NDArray[Any]) -> FloatArray:
        """Voxels on the source grid as float32 working voxels (``shape``); a view where nothing is to be done."""
        block = self.reorientation.apply(voxels)[self.bounds.slices]
        values: FloatArray = np.asarray(block, np.float32)
        if not self.resampled:
            return values
        return np.asarray(scaled(smoothed(values, self.step), self.step, self._offset, self.shape), np.float32)

    def restore(self, values: FloatArray, outside: float = 0.0) -> FloatArray:
        """Working voxels, such as probabilities, on the source grid by linear interpolation; ``outside`` the block.

        One channel at a time, so that a caller decides how many it can hold.
        """
        return self._restored(np.asarray(values, np.float32), LINEAR, np.float32(outside))

    def restore_labels(self, labels: LabelArray) -> LabelArray:
        """Working labels on the source grid, each voxel the nearest working voxel's; 0 outside the block."""
        return self._restored(np.asarray(labels, np.uint8), NEAREST, np.uint8(0))

    def _restored(self, values: npt.NDArray[Any], order: int, outside: np.generic) -> npt.NDArray[Any]:
        if values.shape != self.shape:
            raise ValueError(f"expected working voxels of shape {self.shape}, got {values.shape}")
        if self.resampled:
            i, j, k = (1.0 / step for step in self.step)
            x, y, z = (-offset / step for offset, step in zip(self._offset, self.step, strict=True))
            values = scaled(values, (i, j, k), (x, y, z), self.bounds.shape, order=order)
        restored = np.full(self.source.shape, outside, values.dtype)
        self.reorientation.apply(restored)[self.bounds.slices] = values
        return restored

    @property
    def _offset(self) -> Spacing:
        """Where the first working voxel lies in the block, in canonical voxels: both have one centre."""
        i, j, k = (
            (n - 1) / 2 - step * (m - 1) / 2
            for n, m, step in zip(self.bounds.shape, self.shape, self.step, strict=True)
        )
        return i, j, k


def _step(own_mm: float, wanted_mm: float | None) -> float:
    """Canonical voxels per working voxel."""
    if wanted_mm is None or abs(own_mm / wanted_mm - 1.0) <= SPACING_TOLERANCE:
        return 1.0
    return wanted_mm / own_mm
