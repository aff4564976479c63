"""Dice lesion by lesion, as the BraTS challenge of 2023 counts it: a small one that is missed counts as a large one.

Rules of its task of adult gliomas (Baid 2023, https://arxiv.org/abs/2305.19369): outlines that are apart by less than
twice 3 mm are one lesion, lesions of at most 50 mm3 are left out, a found piece belongs to every lesion that it comes
within 3 mm of, and a piece that belongs to none counts as a lesion with a Dice of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure, label

from training.data.archives import BoolArray
from training.evaluation.masks import dice

REACH_MM: Final = 3.0
SMALLEST_MM3: Final = 50.0
_WITH_CORNERS: Final = np.ones((3, 3, 3), np.bool_)
_WITH_EDGES: Final = generate_binary_structure(3, 2)


def lesion_wise_dice(predicted: BoolArray, true: BoolArray, spacing_mm: Sequence[float]) -> float:
    """Sum of the Dice of true lesions over the number of these and of invented pieces; 1 where there is neither.

    Masks are bool (i, j, k) of one shape; ``spacing_mm`` is the size of a voxel along each axis. The challenge grows
    outlines by 3 voxels of 1 mm; here it is as many voxels as come closest to that.
    """
    reach = max(1, round(REACH_MM / float(np.prod(spacing_mm)) ** (1 / 3)))
    found = find_objects((predicted | true).astype(np.uint8))
    if not found:
        return 1.0
    # Growth needs room around what there is, as far as the image has it.
    box = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in found[0])
    predicted, true = predicted[box], true[box]
    pieces, count = label(predicted, _WITH_CORNERS)
    lesions, _ = label(binary_dilation(true, _WITH_EDGES, reach), _WITH_CORNERS)
    voxel_mm3 = float(np.prod(spacing_mm))
    scores, matched = [], set[int]()
    for number, part in enumerate(find_objects(lesions), start=1):
        around = lesions[part] == number
        touching = set(np.unique(pieces[part][around]).tolist()) - {0}
        matched |= touching
        lesion = np.zeros_like(true)
        lesion[part] = around & true[part]
        if np.count_nonzero(lesion) * voxel_mm3 > SMALLEST_MM3:
            scores.append(dice(np.isin(pieces, list(touching)), lesion))
    counted = len(scores) + count - len(matched)
    return sum(scores) / counted if counted else 1.0
