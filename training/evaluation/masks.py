"""Segmentation: how two masks overlap. Masks are bool, of any shape and number of dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]


def dice(predicted: BoolArray, true: BoolArray) -> float:
    """2 |A and B| / (|A| + |B|) = 2 TP / (2 TP + FP + FN); 1 when both are empty.

    Literature calls this one figure Dice, DSC (Dice similarity coefficient), SI (similarity index) or the F1 of the
    pixels.
    """
    return dice_of_counts(int(predicted.sum()), int(true.sum()), int((predicted & true).sum()))


def iou(predicted: BoolArray, true: BoolArray) -> float:
    """|A and B| / |A or B| = TP / (TP + FP + FN), also called Jaccard; 1 when both are empty."""
    return iou_of_counts(int(predicted.sum()), int(true.sum()), int((predicted & true).sum()))


def dice_of_counts(predicted: int, true: int, overlap: int) -> float:
    """Dice of two masks that hold so many pixels, ``overlap`` of them common."""
    total = predicted + true
    return 2 * overlap / total if total else 1.0


def iou_of_counts(predicted: int, true: int, overlap: int) -> float:
    """Intersection over union of two masks that hold so many pixels, ``overlap`` of them common."""
    union = predicted + true - overlap
    return overlap / union if union else 1.0


def volumetric_dice(predicted: BoolArray, true: BoolArray, patients: Sequence[str]) -> dict[str, float]:
    """Dice over all slices (n, h, w) of each patient together."""
    names = np.asarray(patients)
    return {name: dice(predicted[names == name], true[names == name]) for name in sorted(set(patients))}


def tumour_slice_dice(predicted: BoolArray, true: BoolArray) -> npt.NDArray[np.float64]:
    """Dice (m,) of each of the m slices of (n, h, w) that truly show tumour."""
    return np.array([dice(p, t) for p, t in zip(predicted, true, strict=True) if t.any()], np.float64)


def false_positive_slices(predicted: BoolArray, true: BoolArray) -> float:
    """Share of the slices (n, h, w) without tumour in which some is predicted; NaN where every slice has tumour."""
    healthy = ~true.any(axis=(1, 2))
    return float(predicted[healthy].any(axis=(1, 2)).mean()) if healthy.any() else float("nan")
