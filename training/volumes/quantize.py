"""What ``training.bundle.quantize`` needs to know of volumes: which layers gain, what to calibrate on, how to compare.

ONNX Runtime convolves volumes of int8 more slowly than those of float32, but slices in half their time: int8 is for
networks whose graph convolves slices alone (docs/adr/0020).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from core.contracts.manifest import VolumePreprocessing
from core.imaging.preparation.volume_transforms import VolumeSpec
from training.config import VolumeSegmenterConfig
from training.data.archives import FloatArray
from training.data.scans import prepared, scans
from training.evaluation.volumes import OperatingPoint, volume_answers
from training.records import INT8_FILE, REFERENCE_FILE, Export
from training.volumes.task import centre_of, cut_block, shown_sequences

# Windows, each with tumour or not as in training; 16 slices each.
CALIBRATION_WINDOWS: Final = 24
_VOLUME_RANK: Final = 5
_MOVES: Final = frozenset({"Concat", "Reshape", "Slice"})


def volume_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that compute volumes, of a graph with inferred shapes; those that move values are no such."""
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*model.graph.value_info, *model.graph.output)
    }
    return [
        node.name
        for node in model.graph.node
        if ranks.get(node.output[0], 0) == _VOLUME_RANK and node.op_type not in _MOVES
    ]


def reads_slices(path: Path) -> bool:
    """Whether any convolution of the graph at ``path`` is one of slices."""
    model = onnx.load(path)
    volumes = volume_nodes(model)
    return any(node.op_type == "Conv" and node.name not in volumes for node in model.graph.node)


def volume_calibration(data: Path, record: Export) -> FloatArray:
    """Windows (n, 4, i, j, k) of training scans, with the sequences that training shows."""
    preprocessing = _preprocessing(record)
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


def volume_comparison(run: Path, data: Path, record: Export) -> Callable[[], dict[str, float]]:
    """Mean whole-tumour Dice on validation, both graphs at the reference's operating point, every view counted."""
    point = OperatingPoint(_preprocessing(record), record.labels, record.thresholds or (), record.smallest_component_ml)

    def mean_dice(name: str) -> float:
        found = volume_answers(run / name, point, data, "val")
        whole = record.labels[0].replace("_", " ")
        return float(found.only(np.char.startswith(found.views, f"{whole},")).dice.mean())

    reference = mean_dice(REFERENCE_FILE)

    def compare() -> dict[str, float]:
        return {"dice_change": mean_dice(INT8_FILE) - reference}

    return compare


def _preprocessing(record: Export) -> VolumePreprocessing:
    if record.volume is None:
        raise ValueError("the record is not one of a network of volumes")
    return record.volume
