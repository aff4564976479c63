"""What a graph answered for whole scans: one row for each region of each scan in each view."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from core.contracts.regions import CHANNELS
from core.imaging.volume import Spacing
from training.data.archives import BoolArray, Float64Array
from training.data.scans import Scan
from training.evaluation.lesions import lesion_wise_dice
from training.evaluation.masks import hausdorff95
from training.evaluation.predictions import MaskPredictions, MaskRow, StrArray

# Channels have names of their own; regions between them have those of reports.
_CHANNELS: Final = {region: channel for channel, region in CHANNELS.items()}
_COLUMNS: Final = ("data_set", "site", "case", "patient", "region", "shown")
_FIGURES: Final = ("dice", "hausdorff95_mm", "lesion_wise_dice", "predicted_ml", "true_ml")


def named(region: str) -> str:
    """A region of ``core.contracts.regions`` as figures name it."""
    return _CHANNELS.get(region, region).replace("_", " ")


class VolumeRow(NamedTuple):
    """One answer, as ``VolumePredictions`` has them."""

    view: str
    data_set: str
    image: str
    patient: str
    predicted: int
    true: int
    overlap: int
    pixels: int
    hausdorff: float
    site: str
    lesion_wise: float
    voxel_ml: float

    @classmethod
    def of(
        cls, scan: Scan, region: str, shown: str, masks: tuple[BoolArray, BoolArray], spacing_mm: Spacing | None
    ) -> VolumeRow:
        """Of two ``masks`` (i, j, k), predicted and true; what is measured in mm is NaN without ``spacing_mm``."""
        distance = lesions = voxel_ml = np.nan
        if spacing_mm is not None:
            distance = hausdorff95(*masks, spacing_mm) if masks[1].any() else np.nan
            lesions = lesion_wise_dice(*masks, spacing_mm)
            voxel_ml = float(np.prod(spacing_mm)) / 1000
        view = f"{named(region)}, {shown}"
        counted = MaskRow.counted(view, scan.data_set, scan.name, scan.patient, masks, distance)
        return cls(*counted, scan.site, lesions, voxel_ml)


@dataclass(frozen=True)
class VolumePredictions(MaskPredictions):
    """``views`` name the region and the sequences shown; ``pixels`` and other counts are of the scan's own voxels.

    ``hausdorff`` float64 (n,) is Hausdorff 95 in mm, NaN where the region is absent in truth or voxels have no known
    size; ``lesion_wise`` float64 (n,) is Dice lesion by lesion and ``voxel_ml`` float64 (n,) the size of a voxel, both
    NaN without one. ``sites`` is text (n,), empty where unknown.
    """

    sites: StrArray
    lesion_wise: Float64Array
    voxel_ml: Float64Array

    @property
    def predicted_ml(self) -> Float64Array:
        """Of each answer (n,)."""
        return np.asarray(self.predicted * self.voxel_ml)

    @property
    def true_ml(self) -> Float64Array:
        """Of each region in truth (n,)."""
        return np.asarray(self.true * self.voxel_ml)

    def write_cases(self, path: Path) -> None:
        """A line of CSV for each answer; what is not known is empty."""
        text = (self.data_sets, self.sites, self.images, self.patients)
        figures = (self.dice, self.hausdorff, self.lesion_wise, self.predicted_ml, self.true_ml)
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow((*_COLUMNS, *_FIGURES))
            for index, view in enumerate(self.views.tolist()):
                values = [float(column[index]) for column in figures]
                shown = ["" if np.isnan(value) else f"{value:.4f}" for value in values]
                writer.writerow([*(str(column[index]) for column in text), *view.split(", ", 1), *shown])
