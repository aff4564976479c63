"""Voxels that hold no number. Around the head they are what some tools write as nothing; in it they are damage."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from core.errors import UnusableVolume
from core.imaging.components import grown, joined_to_border
from core.imaging.volume import FloatArray, corners_of, edges_of

BoolArray = npt.NDArray[np.bool_]

# Masks of brains have holes of a voxel or a few near their surface.
_HOLE_DEPTH: Final = 3


def fill_lost(voxels: FloatArray) -> None:
    """Give the NaN voxels of a volume (i, j, k) its smallest value, in place, provided that they are background.

    Background is what touches the border of the volume, directly or over other voxels of it: of NaN, and of the value
    in the corners where they all hold the same. Where a mask has left NaN around a brain, along most of the edges of
    the volume, holes of the mask are background as well: NaN within ``_HOLE_DEPTH`` voxels of the rest. The smallest
    value is dark to every later step, also where values are z-scores and 0 is grey. Memory is 20 bytes a voxel, and 40
    where every other voxel is lost.

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
    found = joined_to_border(lost | (voxels == values[0]) if len(values) == 1 else lost)
    edges = edges_of(voxels)
    if np.count_nonzero(np.isnan(edges)) > edges.size / 2:
        near = found
        for _ in range(_HOLE_DEPTH):
            near = grown(near)
        found = found | (near & lost)
    return found
