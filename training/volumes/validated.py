"""How well a graph of volumes finds each region on validation, which decides what callers are shown of it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from core.contracts.manifest import VALIDATION, Metric, VolumePreprocessing
from core.contracts.regions import REGIONS
from core.contracts.tensors import PROBABILITY
from core.runtime.bundle import load_bundle
from training.bundle.onnx_files import OnnxModel
from training.data.scans import scans
from training.evaluation.intervals import measured
from training.evaluation.masks import dice
from training.volumes.evaluate import OperatingPoint, by_region, views_of
from training.volumes.inputs import scan_input


def validated_dice(path: Path, point: OperatingPoint, data: Path) -> dict[str, Metric]:
    """By region the mean Dice of a graph file over every validation scan that knows it, in every view.

    A job may come with FLAIR alone, so inner regions count in that view as well. No region without a scan.
    """
    model = OnnxModel(path)
    scores, patients, data_sets = defaultdict(list), defaultdict(list), defaultdict(list)
    for scan in scans(data, VALIDATION):
        labelled = scan.read()
        true = by_region(labelled.regions)
        for names in views_of(labelled.sequences).values():
            item = scan_input(labelled, names, point.preprocessing)
            probabilities = point.probabilities(lambda windows: model.run(windows)[PROBABILITY], item.tensor)
            found = by_region(point.masks(probabilities, item.space))
            for region, mask in true.items():
                scores[region].append(dice(found[region], mask))
                patients[region].append(scan.patient)
                data_sets[region].append(scan.data_set)
    return {
        region: _mean(region, scores[region], patients[region], data_sets[region])
        for region in REGIONS
        if region in scores
    }


def _mean(region: str, scores: list[float], patients: list[str], data_sets: list[str]) -> Metric:
    name = f"volumetric Dice a patient, mean ({region.replace('_', ' ')}, every view)"
    values = np.array(scores)
    (metric,) = measured(
        lambda rows: {name: float(values[rows].mean())},
        patients,
        " and ".join(dict.fromkeys(data_sets)),
        VALIDATION,
        "patients",
        {name: len(set(patients))},
    )
    return metric


def validated_bundle(folder: Path, data: Path) -> dict[str, Metric]:
    """The same of the reference of a bundle. Raises ValueError where it is none of volumes, BundleCorrupt."""
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    if manifest.task != "volume-segmentation":
        raise ValueError(f"{folder} is no model of volumes: its answers have no regions")
    assert isinstance(manifest.preprocessing, VolumePreprocessing)
    least = manifest.smallest_component_ml, manifest.smallest_enhancing_ml
    point = OperatingPoint(manifest.preprocessing, manifest.labels, manifest.region_thresholds, *least)
    reference = next(file for file in manifest.files if file.variant == "reference")
    return validated_dice(bundle.file_path(reference), point, data)
