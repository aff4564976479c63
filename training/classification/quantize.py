"""What quantising a classifier needs: slices to calibrate on, and how the int8 graph compares with the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from core.contracts.manifest import ClassificationPreprocessing
from core.contracts.tensors import DISTANCE, LOGITS
from training.bundle.onnx_files import OnnxModel
from training.bundle.quantize import Comparison
from training.data.archives import FloatArray
from training.data.labelled import load_slices
from training.evaluation.inputs import labelled_inputs
from training.evaluation.rates import accuracy
from training.records import INT8_FILE, REFERENCE_FILE, Export

CALIBRATION_SLICES: Final = 160


def calibration(data: Path, record: Export) -> FloatArray:
    """Training slices (n, 1, s, s), of every label about as many."""
    train = load_slices(data, "train", ClassificationPreprocessing(size=record.size), record.labels)
    generator = np.random.default_rng(0)
    of_label = [np.flatnonzero(train.labels == label) for label in np.unique(train.labels)]
    share = CALIBRATION_SLICES // len(of_label)
    rows = np.concatenate([generator.choice(r, min(share, len(r)), replace=False) for r in of_label])
    return np.asarray(train.images[np.sort(rows)], np.float32)[:, None] / np.float32(255)


def comparison(run: Path, data: Path, record: Export) -> Comparison:
    """Answers on validation that stay the same, and what that does to accuracy and input check."""
    inputs = labelled_inputs(data, "val", record.size, record.labels)
    predicted = OnnxModel(run / REFERENCE_FILE).run_all(inputs.images)[LOGITS].argmax(axis=1)

    def compare() -> dict[str, float]:
        int8 = OnnxModel(run / INT8_FILE).run_all(inputs.images)
        answered = int8[LOGITS].argmax(axis=1)
        return {
            "top1_agreement": float(np.mean(predicted == answered)),
            "accuracy_change": accuracy(answered, inputs.labels) - accuracy(predicted, inputs.labels),
            "accepted_by_distance": float(np.mean(int8[DISTANCE] <= (record.max_distance or 0.0))),
        }

    return compare
