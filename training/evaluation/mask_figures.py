"""Counts, distances and figures of masks, whoever drew them, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import numpy as np

from core.contracts.manifest import Metric
from training.data.archives import BoolArray
from training.evaluation.intervals import Rows, averaged, measured
from training.evaluation.masks import hausdorff95
from training.evaluation.predictions import MaskPredictions, MaskRow
from training.records import Failure

LGG: Final = "TCGA-LGG"
# A patient has but a few slices in it, in several planes: no volume.
FIGSHARE: Final = "Figshare"
# Of many people, one slice or a few of each.
HEALTHY: Final = "heads without tumour"
SINGLE_SLICES: Final = frozenset({FIGSHARE, HEALTHY})
# The worst answers in each data set that are named, so that a reader with the data can look at them.
MASK_FAILURES: Final = 3


def count_masks(
    pairs: Iterable[tuple[BoolArray, BoolArray]],
    images: Sequence[str],
    patients: Sequence[str],
    data_set: str,
    view: str,
) -> MaskPredictions:
    """Counts and distances of (predicted, true) masks, each pair bool (h, w) of one slice."""
    rows = []
    for (mask, true), image, patient in zip(pairs, images, patients, strict=True):
        distance = hausdorff95(mask, true) if true.any() else np.nan
        rows.append(MaskRow.counted(view, data_set, image, patient, (mask, true), distance))
    return MaskPredictions.of(rows)


def mask_metrics(item: MaskPredictions, split: str) -> list[Metric]:
    """Every figure of a segmenter with its interval over patients: view by view.

    Volumetric figures count all slices of a patient together. Only slices with tumour have a Dice worth averaging:
    where there is none, an empty answer would score 1; those are judged by how many of them get a tumour instead.
    """
    metrics = []
    for data_set, view, part in item.parts():
        if data_set not in SINGLE_SLICES:
            metrics += volume_metrics(part.by_patient(), view, data_set, split)
        metrics += _slice_metrics(part, view, data_set, split)
    return metrics


def volume_metrics(volumes: MaskPredictions, view: str, data_set: str, split: str) -> list[Metric]:
    """Overlap of whole volumes, one row each, with intervals over patients."""
    dice, iou = volumes.dice, volumes.iou

    def figures(rows: Rows) -> dict[str, float]:
        return {
            f"volumetric Dice a patient, mean ({view})": float(dice[rows].mean()),
            f"volumetric Dice a patient, median ({view})": float(np.median(dice[rows])),
            f"volumetric IoU a patient, mean ({view})": float(iou[rows].mean()),
        }

    return measured(figures, volumes.patients.tolist(), data_set, split, "patients")


def _slice_metrics(part: MaskPredictions, view: str, data_set: str, split: str) -> list[Metric]:
    tumour, healthy = part.only(part.has_tumour), part.only(~part.has_tumour)
    metrics: list[Metric] = []
    if len(tumour.images):
        dice, iou, distance = tumour.dice, tumour.iou, tumour.hausdorff

        def overlap(rows: Rows) -> dict[str, float]:
            return {
                f"Dice on tumour slices ({view})": float(dice[rows].mean()),
                f"IoU on tumour slices ({view})": float(iou[rows].mean()),
                f"Hausdorff 95 in pixels, mean of tumour slices ({view})": float(distance[rows].mean()),
                f"Hausdorff 95 in pixels, median of tumour slices ({view})": float(np.median(distance[rows])),
            }

        metrics += measured(overlap, tumour.patients.tolist(), data_set, split)
    if len(healthy.images):
        alarms = {f"false-positive slices, share ({view})": healthy.predicted > 0}
        metrics += averaged(alarms, healthy.patients.tolist(), data_set, split)
    return metrics


def mask_failures(item: MaskPredictions) -> tuple[Failure, ...]:
    """Of each data set, in the first view of it: least Dice of a tumour, or largest outline where there is none.

    By patient where whole patients are outlined; of single slices the first of each patient.
    """
    found: dict[str, list[Failure]] = {}
    for data_set, view, part in item.parts():
        if data_set not in found:
            found[data_set] = _failures(part, data_set, view)
    return tuple(chain.from_iterable(found.values()))


def _failures(part: MaskPredictions, data_set: str, view: str) -> list[Failure]:
    rows = part if data_set in SINGLE_SLICES else part.by_patient()
    healthy = data_set == HEALTHY
    order = np.argsort(-rows.predicted if healthy else rows.dice, kind="stable")
    wrong = [row for row in order if healthy != bool(rows.has_tumour[row]) and rows.dice[row] < 1]
    found = [
        Failure(
            name=str(rows.images[row]) or str(rows.patients[row]),
            data_set=f"{data_set} ({view})",
            truth="no tumour" if healthy else f"{rows.true[row]} outlined",
            answer=f"{rows.predicted[row]} outlined" + ("" if healthy else f", Dice {rows.dice[row]:.2f}"),
        )
        for row in first_of_each(wrong, rows.patients.tolist())
    ]
    return found[:MASK_FAILURES]


def first_of_each(rows: Iterable[int], groups: Sequence[str]) -> Iterable[int]:
    """Of each group its first row."""
    found: dict[str, int] = {}
    for row in rows:
        found.setdefault(groups[row], row)
    return found.values()
