"""One map of labels from nested regions of a tumour, and what is too small in it to be told.

Serving labels volumes with it and training scores graphs with it, so that a figure is one of what callers get. Labels
are those of ``core.contracts.regions``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from core.contracts.regions import ENHANCING, NECROTIC_CORE, OEDEMA
from core.imaging.components import label_components
from core.imaging.volume import LabelArray, bounds_of

BoolArray = npt.NDArray[np.bool_]

# What a voxel is that lies in a region and in none further in.
_LABELS: Final = (OEDEMA, NECROTIC_CORE, ENHANCING)
_BACKGROUND: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """``labels`` uint8 (i, j, k) without what is too small.

    Of the connected pieces of tumour so many were ``kept`` and ``removed``; so many voxels that enhance were taken for
    core (``absorbed``).
    """

    labels: LabelArray
    kept: int
    removed: int
    absorbed: int = 0


def label_nested(masks: Iterable[BoolArray], shape: tuple[int, ...]) -> LabelArray:
    """Labels uint8 ``shape`` of masks bool ``shape``, one a channel of a network, from the outermost inwards.

    A voxel counts for a region only within the region around it: what enhances lies in the core, and that in the whole
    tumour. ``masks`` is gone through once, so that it may make one at a time.
    """
    labels = np.zeros(shape, np.uint8)
    around = _BACKGROUND
    for mask, label in zip(masks, _LABELS, strict=False):
        labels[mask & (labels == around)] = label
        around = label
    return labels


def clean_labels(labels: LabelArray, voxel_mm3: float, component_mm3: float, enhancing_mm3: float) -> Cleaned:
    """Labels (i, j, k) without pieces of tumour below ``component_mm3``, and without too little that enhances.

    Where less than ``enhancing_mm3`` enhances in what is left of the whole volume, it becomes core: so few voxels are
    more often noise than tumour, and a region that is absent in truth is scored 0 for a single one of them (the rule of
    nearly every winner of BraTS since 2018). The input is left unchanged, and is itself the answer where nothing
    changes.
    """
    cleaned = remove_small(labels, component_mm3, voxel_mm3)
    enhancing = cleaned.labels == ENHANCING
    count = int(np.count_nonzero(enhancing))
    if count == 0 or count * voxel_mm3 >= enhancing_mm3:
        return cleaned
    return Cleaned(np.where(enhancing, np.uint8(NECROTIC_CORE), cleaned.labels), cleaned.kept, cleaned.removed, count)


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
