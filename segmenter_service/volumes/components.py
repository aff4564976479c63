"""Connected components of a labelled volume: specks that are too small to be a tumour are taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.imaging.components import label_components
from core.imaging.volume import bounds_of

LabelArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """``labels`` uint8 (i, j, k) without small components, how many were ``kept`` and how many ``removed``."""

    labels: LabelArray
    kept: int
    removed: int


def remove_small(labels: LabelArray, min_mm3: float, voxel_mm3: float) -> Cleaned:
    """Labels (i, j, k) without the components smaller than ``min_mm3``; a component is voxels of any label that touch.

    The input is left unchanged, and returned itself where nothing is removed.
    """
    tumor = bounds_of(labels > 0)
    if tumor is None:
        return Cleaned(labels, 0, 0)
    # Tumours fill little of a head: labelling their box is many times faster than labelling the volume.
    components, count = label_components(labels[tumor.slices] > 0, corners=True)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    small = sizes * voxel_mm3 < min_mm3
    small[0] = False
    removed = int(np.count_nonzero(small))
    if not removed:
        return Cleaned(labels, count, 0)
    cleaned = labels.copy()
    cleaned[tumor.slices][small[components]] = 0
    return Cleaned(cleaned, count - removed, removed)
