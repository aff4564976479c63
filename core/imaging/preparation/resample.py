"""Voxels of one grid as voxels of another. Indices name centres, so nothing shifts by half a voxel."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from core.imaging.volume import FloatArray, Grid, Shape, Spacing, Volume

NEAREST: Final = 0
LINEAR: Final = 1


def scaled(
    voxels: npt.NDArray[Any], step: Spacing, offset: Spacing, shape: Shape, *, order: int = LINEAR
) -> npt.NDArray[Any]:
    """``voxels`` (i, j, k) read at ``offset + step * index`` for every index of ``shape``; dtype is kept.

    Interpolates linearly or takes the nearest voxel (``order``); beyond the outermost centres their values go on.
    """
    resampled: npt.NDArray[Any] = ndimage.affine_transform(
        voxels, np.asarray(step), np.asarray(offset), output_shape=shape, order=order, mode="nearest", prefilter=False
    )
    return resampled


def smoothed(voxels: FloatArray, step: Spacing) -> FloatArray:
    """What finer grids would show and ``step`` voxels a sample cannot, taken out: no aliases after shrinking.

    A Gaussian of (step - 1) / 2 voxels along the axes that shrink; others, and all of them often, stay as they are.
    """
    for axis, size in enumerate(step):
        if size > 1:
            voxels = ndimage.gaussian_filter1d(voxels, (size - 1) / 2, axis, mode="nearest", truncate=2.0)
    return voxels


def resample_to(volume: Volume, grid: Grid, *, order: int = LINEAR) -> Volume:
    """A volume as seen on ``grid``, which may be turned and tilted against its own; 0 outside of it.

    Each voxel reaches half a voxel beyond its centre. float32 values are smoothed along axes that shrink.
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
    resampled = ndimage.affine_transform(
        padded, to_voxels[:3, :3], to_voxels[:3, 3] + 1, output_shape=grid.shape, order=order, prefilter=False
    )
    _blank_outside(resampled, to_voxels, volume.grid.shape)
    return Volume(resampled, grid.affine)


def _blank_outside(resampled: npt.NDArray[Any], to_voxels: npt.NDArray[np.float64], source: Shape) -> None:
    """Set to 0 what lies more than half a voxel beyond the outermost centres of a volume of shape ``source``."""
    j, k = np.arange(resampled.shape[1])[:, None], np.arange(resampled.shape[2])
    for i, plane in enumerate(resampled):
        for row, size in zip(to_voxels[:3], source, strict=True):
            position = (row[0] * i + row[3]) + row[1] * j + row[2] * k
            plane[(position < -0.5) | (position > size - 0.5)] = 0
