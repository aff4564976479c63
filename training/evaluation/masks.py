"""Segmentation: how two masks overlap, and how far their outlines are apart. Masks are bool, of any dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects

from training.data.archives import BoolArray, Float64Array, IntArray


def dice(predicted: BoolArray, true: BoolArray) -> float:
    """2 |A and B| / (|A| + |B|) = 2 TP / (2 TP + FP + FN); 1 when both are empty.

    Literature calls this one figure Dice, DSC (Dice similarity coefficient), SI (similarity index) or the F1 of the
    pixels.
    """
    return float(dice_of_counts(predicted.sum(), true.sum(), (predicted & true).sum()))


def dice_of_counts(predicted: IntArray, true: IntArray, overlap: IntArray) -> Float64Array:
    """Dice of pairs of masks that hold so many pixels, ``overlap`` of them common."""
    return _share(2 * overlap, predicted + true)


def iou_of_counts(predicted: IntArray, true: IntArray, overlap: IntArray) -> Float64Array:
    """Intersection over union of pairs of masks that hold so many pixels, ``overlap`` of them common."""
    return _share(overlap, predicted + true - overlap)


def _share(common: IntArray, whole: IntArray) -> Float64Array:
    return np.where(whole > 0, common / np.maximum(whole, 1), 1.0)


def volumetric_dice(predicted: BoolArray, true: BoolArray, patients: Sequence[str]) -> dict[str, float]:
    """Dice over all slices (n, h, w) of each patient together."""
    names = np.asarray(patients)
    return {name: dice(predicted[names == name], true[names == name]) for name in sorted(set(patients))}


def hausdorff95(predicted: BoolArray, true: BoolArray, spacing: Sequence[float] | None = None) -> float:
    """The larger of the two 95th percentiles of distances from one outline to the other (Huttenlocher 1993, at 95 %).

    Masks are bool of one shape, 2D or 3D. ``spacing`` is the size of a pixel or voxel along each axis, in the unit of
    the answer; None is 1, so pixels. The outline is the pixels of a mask that touch its outside through an edge (a
    face); the edge of the image is outside.

    Two empty masks are 0 apart. Where only one is empty there is no distance: the diagonal of the image stands for
    it, the longest that a distance could be, so that a missed tumour costs and the mean stays finite.
    """
    steps = tuple(spacing) if spacing is not None else (1.0,) * true.ndim
    if not predicted.any() and not true.any():
        return 0.0
    if not predicted.any() or not true.any():
        return math.hypot(*(side * step for side, step in zip(true.shape, steps, strict=True)))
    # Outlines are inside the part of the image that holds both masks, and so is all that is measured.
    (box,) = find_objects((predicted | true).astype(np.uint8))
    outlines = [mask[box] & ~binary_erosion(mask[box]) for mask in (predicted, true)]
    away = [distance_transform_edt(~outline, sampling=steps) for outline in outlines]
    return float(max(np.percentile(away[1][outlines[0]], 95), np.percentile(away[0][outlines[1]], 95)))
