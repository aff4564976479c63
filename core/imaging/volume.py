"""A volume is voxels and where they lie in the patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.uint8]
Affine = npt.NDArray[np.float64]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A lattice of voxels: ``shape`` (i, j, k), and ``affine`` float64 (4, 4) from voxel indices to mm.

    Indices name centres of voxels. Millimetres are NIfTI's: x towards the patient's right, y anterior, z superior.
    """

    shape: Shape
    affine: Affine

    @property
    def spacing_mm(self) -> Spacing:
        """Distance of neighbouring voxel centres along i, j and k in mm."""
        i, j, k = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return i, j, k

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in cubic millimetres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_mm(self, indices: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Voxel indices (..., 3), fractions included, as points (..., 3) in mm."""
        points: npt.NDArray[np.float64] = np.asarray(indices, np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return points

    def corners_mm(self) -> npt.NDArray[np.float64]:
        """Centres (8, 3) in mm of the voxels in the corners."""
        ends = np.asarray(self.shape) - 1
        return self.to_mm(np.asarray(list(np.ndindex(2, 2, 2))) * ends)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """``voxels`` (i, j, k), float32 grey values or uint8 labels, and the ``affine`` of their grid (see ``Grid``)."""

    voxels: npt.NDArray[Any]
    affine: Affine

    @property
    def grid(self) -> Grid:
        """The lattice on which the voxels lie."""
        i, j, k = self.voxels.shape
        return Grid((i, j, k), self.affine)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A block of whole voxels: ``start`` to ``stop`` along each axis, ``stop`` excluded."""

    start: Shape
    stop: Shape

    @classmethod
    def whole(cls, shape: Shape) -> Bounds:
        """All of a grid of ``shape``."""
        return cls((0, 0, 0), shape)

    @property
    def shape(self) -> Shape:
        """Voxels along each axis."""
        i, j, k = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return i, j, k

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The block as an index into an array (i, j, k)."""
        i, j, k = (slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))
        return i, j, k

    def union(self, other: Bounds) -> Bounds:
        """The smallest block that holds both."""
        return Bounds(_triple(map(min, self.start, other.start)), _triple(map(max, self.stop, other.stop)))

    def grown(self, margin: Shape, shape: Shape) -> Bounds:
        """The block with ``margin`` voxels more on both sides of each axis, cut at the faces of a grid of ``shape``."""
        start = (max(0, first - more) for first, more in zip(self.start, margin, strict=True))
        stop = (min(size, last + more) for last, more, size in zip(self.stop, margin, shape, strict=True))
        return Bounds(_triple(start), _triple(stop))


def _triple(values: Iterator[int]) -> Shape:
    i, j, k = values
    return i, j, k


def corners_of(voxels: FloatArray) -> FloatArray:
    """The corners of a volume (i, j, k), up to (2, 2, 2): one along an axis of a single voxel."""
    i, j, k = (max(1, size - 1) for size in voxels.shape)
    return voxels[::i, ::j, ::k]


def edges_of(voxels: FloatArray) -> FloatArray:
    """The values (n,) along the twelve edges of a volume (i, j, k)."""
    turned = (np.moveaxis(voxels, axis, 0) for axis in range(3))
    ends = (voxel[:, :: max(1, voxel.shape[1] - 1), :: max(1, voxel.shape[2] - 1)] for voxel in turned)
    return np.concatenate([end.ravel() for end in ends])


def bounds_of(mask: npt.NDArray[np.bool_]) -> Bounds | None:
    """The smallest block that holds every true voxel of a mask (i, j, k); None where there is none."""
    start, stop = [0, 0, 0], [0, 0, 0]
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if hits.size == 0:
            return None
        start[axis], stop[axis] = int(hits[0]), int(hits[-1]) + 1
        # The next axis need only be looked at between the ends found on this one.
        mask = mask.take(range(start[axis], stop[axis]), axis)
    return Bounds((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
