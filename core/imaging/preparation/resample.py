"""Voxels of one grid as voxels of another. Indices name centres, so nothing shifts by half a voxel.

Sums are taken in float64 and in the order of ``scipy.ndimage``, so results are the same to the last bit. To import that
takes longer than to resample a head.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.imaging.volume import FloatArray, Grid, Shape, Spacing, Volume

Floats = npt.NDArray[np.float64]
Neighbours = tuple[tuple[npt.NDArray[np.intp], Floats], tuple[npt.NDArray[np.intp], Floats]]

NEAREST: Final = 0
LINEAR: Final = 1

# A Gaussian ends at this many standard deviations.
_REACH: Final = 2.0


def scaled(
    voxels: npt.NDArray[Any], step: Spacing, offset: Spacing, shape: Shape, *, order: int = LINEAR
) -> npt.NDArray[Any]:
    """``voxels`` (i, j, k) read at ``offset + step * index`` for every index of ``shape``; dtype is kept.

    Interpolates linearly or takes the nearest voxel (``order``); beyond the outermost centres their values go on.
    """
    points = [
        (np.arange(count, dtype=np.float64) + start / size) * size
        for count, start, size in zip(shape, offset, step, strict=True)
    ]
    if order == NEAREST:
        return voxels[np.ix_(*map(_nearest, points, voxels.shape))]
    i, j, k = map(_neighbours, points, voxels.shape)
    resampled = np.empty(shape, voxels.dtype)
    for at, plane in enumerate(resampled):
        total = np.zeros(plane.shape)
        for slabs, slab_shares in i:
            slab = voxels[slabs[at]] * slab_shares[at]
            for rows, row_shares in j:
                lines = slab[rows] * row_shares[:, None]
                for columns, shares in k:
                    total += lines.take(columns, axis=1) * shares
        plane[...] = total
    return resampled


def smoothed(voxels: FloatArray, step: Spacing) -> FloatArray:
    """What finer grids would show and ``step`` voxels a sample cannot, taken out: no aliases after shrinking.

    A Gaussian of (step - 1) / 2 voxels along the axes that shrink; others, and all of them often, stay as they are.
    """
    for axis, size in enumerate(step):
        if size > 1:
            voxels = _blurred(voxels, (size - 1) / 2, axis)
    return voxels


def _blurred(voxels: FloatArray, sigma: float, axis: int) -> FloatArray:
    radius, count = int(_REACH * sigma + 0.5), voxels.shape[axis]
    if radius == 0:
        return voxels
    away = np.arange(radius, -1, -1)
    weights = np.exp(-0.5 / (sigma * sigma) * away**2)
    weights /= np.concatenate([weights, weights[-2::-1]]).sum()
    blurred = np.empty(voxels.shape, np.float32)
    for lines, result in zip(np.moveaxis(voxels, axis, 1), np.moveaxis(blurred, axis, 1), strict=True):
        longer = np.pad(lines.astype(np.float64), ((radius, radius), (0, 0)), mode="edge")
        total = longer[radius : radius + count] * weights[radius]
        for first in range(radius):
            last = 2 * radius - first
            total += (longer[first : first + count] + longer[last : last + count]) * weights[first]
        result[...] = total
    return blurred


def resample_to(volume: Volume, grid: Grid, *, order: int = LINEAR) -> Volume:
    """A volume as seen on ``grid``, which may be turned and tilted against its own.

    Each voxel reaches half a voxel beyond its centre; beyond the outermost, greys (``LINEAR``) are the smallest of the
    volume, which is dark in any unit, and labels 0. float32 values are smoothed along axes that shrink.
    """
    to_voxels = np.linalg.inv(volume.affine) @ grid.affine
    # Rounding must not push the centre of an outermost voxel out of its volume, nor tilt grids that are only turned.
    to_voxels = to_voxels.round(9)
    voxels = volume.voxels
    if order == LINEAR:
        i, j, k = (float(size) for size in np.abs(to_voxels[:3, :3]).max(axis=1))
        voxels = smoothed(voxels, (i, j, k))
    # One more voxel on each side carries the outermost values to the faces.
    padded = np.pad(voxels, 1, mode="edge")
    resampled = np.empty(grid.shape, voxels.dtype)
    rows, columns = np.arange(grid.shape[1])[:, None], np.arange(grid.shape[2])
    for at, plane in enumerate(resampled):
        points = [(start + 1 + a * at) + b * rows + c * columns for a, b, c, start in to_voxels[:3]]
        plane[...] = _read(padded, points, order)
    outside = 0 if order == NEAREST else volume.voxels.min()
    _blank_outside(resampled, to_voxels, volume.grid.shape, outside)
    return Volume(resampled, grid.affine)


def _read(voxels: npt.NDArray[Any], points: list[Floats], order: int) -> npt.NDArray[Any]:
    """Values of voxels (i, j, k) at ``points``, arrays of one shape for i, j and k."""
    flat = voxels.reshape(-1)
    _, rows, columns = voxels.shape
    if order == NEAREST:
        i, j, k = map(_nearest, points, voxels.shape)
        nearest: npt.NDArray[Any] = flat.take((i * rows + j) * columns + k)
        return nearest
    total = np.zeros(points[0].shape)
    for (i, slab_shares), (j, row_shares), (k, shares) in itertools.product(*map(_neighbours, points, voxels.shape)):
        part = flat.take((i * rows + j) * columns + k) * slab_shares
        part *= row_shares
        part *= shares
        total += part
    return total


def _nearest(points: Floats, size: int) -> npt.NDArray[np.intp]:
    return np.clip(np.floor(points + 0.5), 0, size - 1).astype(np.intp)


def _neighbours(points: Floats, size: int) -> Neighbours:
    """The voxels before and behind ``points`` on an axis of ``size`` voxels, each with its share of the value there."""
    below = np.floor(points)
    near = 1.0 - (points - below)
    before, behind = (np.clip(index, 0, size - 1).astype(np.intp) for index in (below, below + 1))
    return (before, near), (behind, 1.0 - near)


def _blank_outside(resampled: npt.NDArray[Any], to_voxels: Floats, source: Shape, value: Any) -> None:
    """Set to ``value`` what lies over half a voxel beyond the outermost centres of a volume of shape ``source``."""
    j, k = np.arange(resampled.shape[1])[:, None], np.arange(resampled.shape[2])
    for i, plane in enumerate(resampled):
        for row, size in zip(to_voxels[:3], source, strict=True):
            position = (row[0] * i + row[3]) + row[1] * j + row[2] * k
            plane[(position < -0.5) | (position > size - 0.5)] = value
