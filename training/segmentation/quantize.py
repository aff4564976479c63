"""What quantising a segmenter needs: slices to calibrate on, and how the int8 graph compares with the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.tensors import PROBABILITY
from training.bundle.onnx_files import OnnxModel
from training.bundle.quantize import Comparison
from training.config import SequenceDropout
from training.data.archives import FloatArray
from training.data.outlined import LGG_SEQUENCES, SEQUENCE, lgg_slices, load_lgg, load_outlined, outlined_slices
from training.evaluation.inputs import OutlinedInput, one_by_one, outlined_inputs, pick
from training.records import INT8_FILE, REFERENCE_FILE, Export
from training.segmentation.export import dice_by_threshold
from training.segmentation.task import drop_sequences

CALIBRATION_SLICES: Final = 160


def calibration(data: Path, record: Export) -> FloatArray:
    """Outlined training slices (n, 4, s, s) with tumour, with the sequences that training shows."""
    spec = SegmentationPreprocessing(size=record.size)
    generator = np.random.default_rng(0)
    np.random.seed(0)  # noqa: NPY002  (``drop_sequences`` draws from the global state, as in training)
    parts = []
    for slices, share in ((load_lgg(data, "train", spec), 0.75), (load_outlined(data, "train", spec), 0.25)):
        tumour = np.flatnonzero(slices.has_tumour)
        rows = generator.choice(tumour, min(len(tumour), round(CALIBRATION_SLICES * share)), replace=False)
        for row in np.sort(rows):
            image = np.array(slices.images[row], np.float32) / np.float32(255)
            present = slices.images[row].any(axis=(1, 2))
            shown, single = drop_sequences(present, SequenceDropout(single=0.2, subset=0.2))
            parts.append(
                np.repeat(image[single][None], 4, axis=0) if single is not None else image * shown[:, None, None]
            )
    return np.stack(parts).astype(np.float32)


def comparison(run: Path, data: Path, record: Export) -> Comparison:
    """Change of mean Dice on validation, by data set, and pixels that stay the same."""
    views = {
        "dice_change": outlined_inputs(lgg_slices(data, "val"), record.size, pick(*LGG_SEQUENCES)),
        "dice_change_outlined": outlined_inputs(one_by_one(outlined_slices(data, "val")), record.size, pick(SEQUENCE)),
    }
    views = {name: inputs for name, inputs in views.items() if inputs}
    threshold = record.threshold or 0.5

    def answer(name: str, inputs: list[OutlinedInput]) -> tuple[float, npt.NDArray[np.bool_]]:
        images = np.stack([item.image for item in inputs])
        probability = OnnxModel(run / name).run_all(images, batch=4)[PROBABILITY][:, 0]
        return dice_by_threshold(list(probability), inputs, (threshold,))[threshold], probability >= threshold

    reference = {name: answer(REFERENCE_FILE, inputs) for name, inputs in views.items()}

    def compare() -> dict[str, float]:
        int8 = {name: answer(INT8_FILE, inputs) for name, inputs in views.items()}
        changes = {name: int8[name][0] - reference[name][0] for name in views}
        same = np.concatenate([(int8[name][1] == reference[name][1]).ravel() for name in views])
        return {**changes, "pixel_agreement": float(np.mean(same))}

    return compare
