"""Figures of volume networks with intervals over patients: view by view, region by region, site by site.

Hausdorff 95 is the larger of the two 95th percentiles of distances between outlines, as MONAI has it; libraries that
pool both directions before they take the percentile give less (``training.evaluation.masks``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from core.contracts.manifest import Metric
from training.evaluation.intervals import averaged
from training.evaluation.mask_figures import volume_metrics
from training.volumes.predictions import VolumePredictions

HEALTHY: Final = "heads without tumour, mirrored halves"
# Of a head without tumour this much may be marked.
TOLERATED_ML: Final = 1.0
_WHOLE: Final = "whole tumor, "


def region_metrics(item: VolumePredictions, split: str) -> list[Metric]:
    """Every figure: of heads without tumour what is marked in them, of others how it overlaps with the truth.

    Everything is measured of what is shown with all its sequences; of a region within the tumour, shown with fewer, the
    mean Dice alone.
    """
    metrics: list[Metric] = []
    complete: dict[str, int] = {}
    for data_set, view, _ in item.parts():
        rows = item.only((item.data_sets == data_set) & (item.views == view))
        if data_set == HEALTHY:
            metrics += _false_volume(rows, view, split)
            continue
        shown = len(view.split(", ", 1)[1].split("+"))
        most = complete.setdefault(data_set, shown)
        if shown == most or view.startswith(_WHOLE):
            metrics += volume_metrics(rows, view, data_set, split)
        else:
            name = f"volumetric Dice a patient, mean ({view})"
            metrics += averaged({name: rows.dice}, rows.patients.tolist(), data_set, split, "patients")
        if shown == most:
            metrics += _in_millimetres(rows, view, data_set, split)
            metrics += _by_site(rows, view, data_set, split)
    return metrics


def _in_millimetres(rows: VolumePredictions, view: str, data_set: str, split: str) -> list[Metric]:
    metrics: list[Metric] = []
    error = rows.predicted_ml - rows.true_ml
    columns = {
        f"Hausdorff 95 in mm, mean ({view})": rows.hausdorff,
        f"lesion-wise Dice, mean ({view})": rows.lesion_wise,
        f"volume error in ml, mean ({view})": np.abs(error),
        f"volume in ml too large, mean ({view})": error,
    }
    for name, values in columns.items():
        known = ~np.isnan(values)
        if known.any():
            patients = rows.patients[known].tolist()
            metrics += averaged({name: values[known]}, patients, data_set, split, "patients")
    return metrics


def _by_site(rows: VolumePredictions, view: str, data_set: str, split: str) -> list[Metric]:
    """Mean Dice at each site, where there are several."""
    sites = sorted(set(rows.sites.tolist()))
    metrics: list[Metric] = []
    for site in sites if len(sites) > 1 else ():
        part = rows.only(rows.sites == site)
        name = {f"volumetric Dice a patient, mean ({view})": part.dice}
        metrics += averaged(name, part.patients.tolist(), f"{data_set}, {site or 'other sites'}", split, "patients")
    return metrics


def _false_volume(rows: VolumePredictions, view: str, split: str) -> list[Metric]:
    marked = rows.predicted_ml
    columns = {
        f"marked in ml, mean ({view})": marked,
        f"at most {TOLERATED_ML:g} ml marked, share of heads ({view})": marked <= TOLERATED_ML,
    }
    return averaged(columns, rows.patients.tolist(), HEALTHY, split, "patients")
