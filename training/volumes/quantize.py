"""What quantising a graph of volumes needs: which graphs gain, what to calibrate on, how to compare.

ONNX Runtime convolves volumes of int8 more slowly than those of float32, but slices in half their time: int8 is for
networks whose graph convolves slices alone (docs/adr/0020).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx

from core.imaging.preparation.volume_transforms import VolumeSpec
from training.bundle.quantize import Comparison, volume_nodes
from training.config import VolumeSegmenterConfig
from training.data.archives import FloatArray
from training.data.scans import prepared, scans
from training.records import INT8_FILE, REFERENCE_FILE, Export
from training.volumes.evaluate import OperatingPoint, volume_answers
from training.volumes.inputs import preprocessing_of_export
from training.volumes.task import centre_of, cut_block, shown_sequences

# Windows, each with tumour or not as in training; 16 slices each.
CALIBRATION_WINDOWS: Final = 24


def reads_slices(path: Path) -> bool:
    """Whether any convolution of the graph at ``path`` is one of slices."""
    model = onnx.load(path)
    volumes = volume_nodes(model)
    return any(node.op_type == "Conv" and node.name not in volumes for node in model.graph.node)


def calibration(data: Path, record: Export) -> FloatArray:
    """Windows (n, 4, i, j, k) of training scans, with the sequences that training shows."""
    preprocessing = preprocessing_of_export(record)
    spec = VolumeSpec.of(preprocessing)
    dropout = VolumeSegmenterConfig().dropout
    i, j, k = preprocessing.window
    np.random.seed(0)  # noqa: NPY002  (patches are drawn from the global state, as in training)
    found = [prepared(scan, spec) for scan in scans(data, "train")]
    windows = []
    for index in np.random.permutation(np.arange(CALIBRATION_WINDOWS) % len(found)):  # noqa: NPY002
        scan = found[index]
        block = cut_block(scan.images, centre_of(scan, (i, j, k), 1.0), (i, j, k))
        shown = shown_sequences(scan.present, dropout)
        windows.append(block.astype(np.float32) / np.float32(255) * shown[:, None, None, None])
    return np.stack(windows).astype(np.float32)


def comparison(run: Path, data: Path, record: Export) -> Comparison:
    """Mean whole-tumour Dice on validation, both graphs at the reference's operating point, every view counted."""
    point = OperatingPoint(
        preprocessing_of_export(record), record.labels, record.thresholds or (), record.smallest_component_ml
    )

    def mean_dice(name: str) -> float:
        found = volume_answers(run / name, point, data, "val")
        whole = record.labels[0].replace("_", " ")
        return float(found.only(np.char.startswith(found.views, f"{whole},")).dice.mean())

    reference = mean_dice(REFERENCE_FILE)

    def compare() -> dict[str, float]:
        return {"dice_change": mean_dice(INT8_FILE) - reference}

    return compare
