"""Regions that a graph finds in whole scans, on the scan's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from core.contracts.manifest import Metric, VolumePreprocessing
from core.contracts.sequences import SEQUENCES
from core.contracts.tensors import PROBABILITY
from core.imaging.components import label_components
from core.imaging.preparation.geometry import WorkingSpace
from core.imaging.volume import Spacing
from core.runtime.sliding import Forward
from training.bundle.onnx_files import OnnxModel
from training.data.archives import BoolArray, FloatArray
from training.data.scans import LGG, OWN_STACKS, Scan, scans
from training.evaluation.evaluate import Subject, evaluate_masks
from training.evaluation.intervals import averaged
from training.evaluation.mask_figures import volume_metrics
from training.evaluation.masks import hausdorff95
from training.evaluation.predictions import MaskPredictions, MaskRow
from training.records import Evaluate
from training.volumes.inputs import predict_volume, scan_input

FLAIR_ALONE: Final = "flair alone"
# Sets of whose voxels no size is known.
_NOMINAL: Final = frozenset({LGG, OWN_STACKS})


@dataclass(frozen=True)
class OperatingPoint:
    """How a graph of volumes is used: its input, its ``regions``, and what decides where each of them is."""

    preprocessing: VolumePreprocessing
    regions: tuple[str, ...]
    thresholds: tuple[float, ...]
    smallest_component_ml: float

    def probabilities(self, forward: Forward, tensor: FloatArray) -> FloatArray:
        """(regions, i, j, k) of a prepared tensor (channels, i, j, k), by sliding windows."""
        spec = self.preprocessing
        return predict_volume(forward, tensor, spec.window, spec.overlap, len(self.regions), columns=spec.columns)

    def masks(self, probabilities: FloatArray, space: WorkingSpace) -> BoolArray:
        """Nested regions (regions, i, j, k) on the scan's own grid, without small pieces of the outermost."""
        found = np.stack(
            [space.restore(p) > threshold for p, threshold in zip(probabilities, self.thresholds, strict=True)]
        )
        nested = np.logical_and.accumulate(found)
        kept = without_specks(nested[0], self.smallest_component_ml, space.source.voxel_mm3 / 1000)
        return np.asarray(nested & kept)


def without_specks(mask: BoolArray, smallest_ml: float, voxel_ml: float) -> BoolArray:
    """A mask (i, j, k) without its connected pieces of less than ``smallest_ml``."""
    pieces, count = label_components(mask, corners=True)
    kept = np.bincount(pieces.ravel(), minlength=count + 1) * voxel_ml >= smallest_ml
    kept[0] = False
    return np.asarray(kept[pieces])


def views_of(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """By name what is shown of a scan with these sequences: all of them, and FLAIR alone."""
    there = tuple(name for name in SEQUENCES if name in set(names))
    views = {"+".join(there): there}
    return views | {FLAIR_ALONE: ("flair",)} if "flair" in there else views


def evaluate_volumes(subject: Subject, data: Path, split: str) -> Evaluate:
    """Every scan in every view."""
    spec = subject.preprocessing
    assert isinstance(spec, VolumePreprocessing)
    point = OperatingPoint(spec, subject.labels, subject.thresholds, subject.smallest_component_ml)
    return evaluate_masks(subject, split, lambda path: volume_answers(path, point, data, split), region_metrics)


def _rows(
    scan: Scan, view: str, spacing_mm: Spacing, known: BoolArray, masks: BoolArray, regions: Iterable[str]
) -> Iterable[MaskRow]:
    """One a region that the scan knows; of FLAIR alone the outermost, which is all that it shows."""
    spacing = None if scan.data_set in _NOMINAL else spacing_mm
    for region, true, mask in zip(regions, known, masks, strict=False):
        if view == FLAIR_ALONE and region != "whole_tumor":
            continue
        distance = hausdorff95(mask, true, spacing) if spacing is not None and true.any() else np.nan
        shown = f"{region.replace('_', ' ')}, {view}"
        yield MaskRow.counted(shown, scan.data_set, scan.name, scan.patient, (mask, true), distance)


def volume_answers(path: Path, point: OperatingPoint, data: Path, split: str) -> MaskPredictions:
    """Every scan of the split in every view: one row a region, counted in the scan's own voxels.

    Hausdorff distances are in mm, NaN where voxels have no known size. Raises FileNotFoundError where there is no scan.
    """
    model = OnnxModel(path)
    rows: list[MaskRow] = []
    for scan in scans(data, split):
        labelled = scan.read()
        for view, names in views_of(labelled.sequences).items():
            item = scan_input(labelled, names, point.preprocessing)
            probabilities = point.probabilities(lambda windows: model.run(windows)[PROBABILITY], item.tensor)
            masks = point.masks(probabilities, item.space)
            rows += _rows(scan, view, item.space.source.spacing_mm, labelled.regions, masks, point.regions)
    if not rows:
        raise FileNotFoundError(f"{data} has no scan of split {split}")
    return MaskPredictions.of(rows)


def region_metrics(item: MaskPredictions, split: str) -> list[Metric]:
    """Every figure with its interval over patients: view by view, region by region."""
    metrics: list[Metric] = []
    for data_set, view, part in item.parts():
        metrics += volume_metrics(part, view, data_set, split)
        measurable = part.only(~np.isnan(part.hausdorff))
        if len(measurable.images):
            distances = {f"Hausdorff 95 in mm, mean ({view})": measurable.hausdorff}
            metrics += averaged(distances, measurable.patients.tolist(), data_set, split, "patients")
    return metrics
