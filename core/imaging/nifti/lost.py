"""Voxels that hold no number. Around the head they are what some tools write as nothing; in it they are damage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.errors import UnusableVolume
from core.imaging.components import label_components
from core.imaging.volume import FloatArray, corners_of

BoolArray = npt.NDArray[np.bool_]


def fill_lost(voxels: FloatArray) -> None:
    """Give the NaN voxels of a volume (i, j, k) its smallest value, in place, provided that they are background.

    Background is what touches the border of the volume, directly or over other voxels of it: of NaN, and of the value
    in the corners where they all hold the same. The smallest value is dark to every later step, also where values are
    z-scores and 0 is grey. Memory is 20 bytes a voxel, and 40 where every other voxel is lost.

    Raises ``UnusableVolume`` where NaN lies elsewhere or everywhere.
    """
    lost = np.isnan(voxels)
    if lost.all():
        raise UnusableVolume("No voxel holds a finite number.")
    inside = np.count_nonzero(lost & ~_background(voxels, lost))
    if inside:
        raise UnusableVolume(
            f"{inside} voxels inside the head hold no finite number of reasonable size (NaN, infinity or beyond 1e30):"
            " replace them, for instance by the mean of their neighbours, and send the file again."
        )
    voxels[lost] = np.fmin.reduce(voxels, axis=None)


def _background(voxels: FloatArray, lost: BoolArray) -> BoolArray:
    corners = corners_of(voxels)
    values = np.unique(corners[~np.isnan(corners)])
    regions, count = label_components(lost | (voxels == values[0]) if len(values) == 1 else lost, corners=False)
    outside = np.zeros(count + 1, np.bool_)
    for axis in range(3):
        outside[regions.take((0, -1), axis)] = True
    # What is of no region has number 0.
    outside[0] = False
    found: BoolArray = outside[regions]
    return found
