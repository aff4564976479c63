"""Connected components of a labelled volume: specks that are too small to be a tumour are taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

LabelArray = npt.NDArray[np.uint8]

# Voxels that touch in a face, an edge or a corner belong together.
_NEIGHBOURS = np.ones((3, 3, 3), np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """``labels`` uint8 (i, j, k) without small components, how many were ``kept`` and how many ``removed``."""

    labels: LabelArray
    kept: int
    removed: int


def remove_small(labels: LabelArray, min_mm3: float, voxel_mm3: float) -> Cleaned:
    """Labels (i, j, k) without the components smaller than ``min_mm3``; a component is joined voxels of any label.

    The input is left unchanged, and returned itself where nothing is removed.
    """
    boxes = ndimage.find_objects((labels > 0).astype(np.uint8))
    if not boxes:
        return Cleaned(labels, 0, 0)
    # Tumours fill little of a head: labelling their box is many times faster than labelling the volume.
    block = labels[boxes[0]]
    components, count = ndimage.label(block, structure=_NEIGHBOURS)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    small = sizes * voxel_mm3 < min_mm3
    small[0] = False
    removed = int(np.count_nonzero(small))
    if not removed:
        return Cleaned(labels, count, 0)
    cleaned = labels.copy()
    cleaned[boxes[0]][small[components]] = 0
    return Cleaned(cleaned, count - removed, removed)
