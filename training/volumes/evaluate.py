"""Regions that a graph finds in whole scans, on the scan's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from core.contracts.manifest import VolumePreprocessing
from core.contracts.regions import BETWEEN, CHANNELS
from core.contracts.sequences import SEQUENCES
from core.contracts.tensors import PROBABILITY
from core.imaging.preparation.geometry import WorkingSpace
from core.imaging.region_labels import clean_labels, label_nested, remove_small
from core.runtime.sliding import Forward
from training.bundle.onnx_files import OnnxModel
from training.data.archives import BoolArray, FloatArray
from training.data.healthy import mirrored_scan
from training.data.scans import LGG, OWN_STACKS, REGIONS, LabelledScan, Scan, nested, scans
from training.evaluation.evaluate import Subject, evaluate_masks
from training.evaluation.predictions import predictions_path
from training.records import Evaluate
from training.volumes.figures import HEALTHY, region_metrics
from training.volumes.inputs import predict_volume, scan_input
from training.volumes.predictions import VolumePredictions, VolumeRow

FLAIR_ALONE: Final = "flair alone"
# Subsets of sequences that figures are given for, besides all that a scan has: without T2, the two that tell most, and
# one alone.
SUBSETS: Final[tuple[tuple[str, ...], ...]] = (("t1", "t1ce", "flair"), ("t1ce", "flair"), ("flair",), ("t1ce",))
# Sets of whose voxels no size is known.
_NOMINAL: Final = frozenset({LGG, OWN_STACKS})
_MM3_PER_ML: Final = 1000.0

Views = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class OperatingPoint:
    """How a graph of volumes is used: its input, its ``regions``, and what decides where each of them is."""

    preprocessing: VolumePreprocessing
    regions: tuple[str, ...]
    thresholds: tuple[float, ...]
    smallest_component_ml: float
    smallest_enhancing_ml: float = 0.0

    def probabilities(self, forward: Forward, tensor: FloatArray) -> FloatArray:
        """(regions, i, j, k) of a prepared tensor (channels, i, j, k), by sliding windows."""
        spec = self.preprocessing
        return predict_volume(forward, tensor, spec.window, spec.overlap, len(self.regions), columns=spec.columns)

    def masks(self, probabilities: FloatArray, space: WorkingSpace) -> BoolArray:
        """Nested regions bool (regions, i, j, k) on the scan's own grid, cleaned as a job's labels are."""
        pairs = zip(probabilities, self.thresholds, strict=True)
        labels = label_nested((space.restore(p) > threshold for p, threshold in pairs), space.source.shape)
        least = (ml * _MM3_PER_ML for ml in (self.smallest_component_ml, self.smallest_enhancing_ml))
        return nested(clean_labels(labels, space.source.voxel_mm3, *least).labels)


def without_specks(mask: BoolArray, smallest_ml: float, voxel_ml: float) -> BoolArray:
    """A mask (i, j, k) without its connected pieces of less than ``smallest_ml``."""
    least_mm3, voxel_mm3 = smallest_ml * _MM3_PER_ML, voxel_ml * _MM3_PER_ML
    return remove_small(mask.astype(np.uint8), least_mm3, voxel_mm3).labels > 0


def by_region(nested: BoolArray) -> Mapping[str, BoolArray]:
    """The regions of a report that the first r channels, bool (r, i, j, k), know: the whole tumour alone, or all."""
    drawn = dict(zip(CHANNELS.values(), nested, strict=False))
    between = {name: drawn[outer] & ~drawn[inner] for name, (outer, inner) in BETWEEN.items() if inner in drawn}
    return drawn | between


def views_of(names: Iterable[str]) -> Views:
    """By name what is shown of a scan with these sequences: all of them, and FLAIR alone."""
    there = tuple(name for name in SEQUENCES if name in set(names))
    views = {"+".join(there): there}
    return views | {FLAIR_ALONE: ("flair",)} if "flair" in there else views


def report_views(names: Iterable[str]) -> Views:
    """The same, and every other one of ``SUBSETS`` that the scan has."""
    given = tuple(names)
    subsets = [subset for subset in SUBSETS if set(subset) < set(given)]
    named = {f"{subset[0]} alone" if len(subset) == 1 else "+".join(subset): subset for subset in subsets}
    return {**views_of(given), **named}


def evaluate_volumes(subject: Subject, data: Path, split: str) -> Evaluate:
    """Every scan in every view, heads without tumour among them; each answer is a line of ``cases-SPLIT.csv``."""
    spec = subject.preprocessing
    assert isinstance(spec, VolumePreprocessing)
    least = subject.smallest_component_ml, subject.smallest_enhancing_ml
    point = OperatingPoint(spec, subject.labels, subject.thresholds, *least)

    def answers(path: Path) -> VolumePredictions:
        return volume_answers(path, point, scored_scans(data, split), report_views)

    evaluated = evaluate_masks(subject, split, answers, region_metrics)
    (folder,) = subject.views
    VolumePredictions.load(predictions_path(folder, split)).write_cases(folder / f"cases-{split}.csv")
    return evaluated


def scored_scans(data: Path, split: str) -> Iterator[tuple[Scan, LabelledScan]]:
    """Every scan of a split, and after it the head without tumour that can be made of it.

    Raises FileNotFoundError where there is no scan.
    """
    found = scans(data, split)
    if not found:
        raise FileNotFoundError(f"{data} has no scan of split {split}")
    for scan in found:
        labelled = scan.read()
        yield scan, labelled
        # A stack has no upright grid to mirror on, and of its inner regions nothing is known.
        healthy = mirrored_scan(labelled) if len(labelled.regions) == len(REGIONS) else None
        if healthy is not None:
            yield replace(scan, data_set=HEALTHY), healthy


def volume_answers(
    path: Path,
    point: OperatingPoint,
    scored: Iterable[tuple[Scan, LabelledScan]],
    views: Callable[[Iterable[str]], Views],
) -> VolumePredictions:
    """Every scan, of which there must be some, in every view: one row a region that it knows, in its own voxels."""
    model = OnnxModel(path)
    rows: list[VolumeRow] = []
    for scan, labelled in scored:
        true = by_region(labelled.regions)
        if scan.data_set == HEALTHY:
            true = {"whole_tumor": true["whole_tumor"]}
        for view, names in views(labelled.sequences).items():
            item = scan_input(labelled, names, point.preprocessing)
            probabilities = point.probabilities(lambda windows: model.run(windows)[PROBABILITY], item.tensor)
            found = by_region(point.masks(probabilities, item.space))
            spacing_mm = None if scan.data_set in _NOMINAL else item.space.source.spacing_mm
            rows += [VolumeRow.of(scan, name, view, (found[name], mask), spacing_mm) for name, mask in true.items()]
    return VolumePredictions.of(rows)
