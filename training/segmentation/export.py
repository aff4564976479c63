"""A segmenter's graph files: input size and threshold chosen on validation; and in int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.tensors import IMAGES, PROBABILITY, TENSORS
from training.bundle.export import THRESHOLDS, candidate_sizes, differences, run_batches
from training.bundle.graphs import SegmenterGraph
from training.bundle.onnx_files import OnnxModel, export_graph, fold_normalisation, half_weights
from training.bundle.quantize import Comparison
from training.config import SequenceDropout
from training.data.archives import BoolArray, FloatArray
from training.data.multisequence import SequenceSlice
from training.data.outlined import LGG_SEQUENCES, SEQUENCE, lgg_slices, load_lgg, load_outlined, outlined_slices
from training.evaluation.inputs import OutlinedInput, one_by_one, outlined_inputs, pick
from training.evaluation.masks import dice
from training.loop.checkpoints import Trained
from training.records import INT8_FILE, REFERENCE_FILE, Export
from training.segmentation.task import drop_sequences

SIZES: Final = (128, 160)
OUTPUTS: Final = TENSORS["segmentation"].outputs


def dice_by_threshold(
    probabilities: list[np.ndarray], inputs: list[OutlinedInput], thresholds: tuple[float, ...]
) -> Mapping[float, float]:
    """Mean volumetric Dice per patient in original pixels for each threshold; probabilities (s, s) a slice."""
    patients: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for item, probability in zip(inputs, probabilities, strict=True):
        restored = item.placement.restore(probability)
        patients.setdefault(item.patient, []).append((restored.ravel(), item.mask.ravel()))
    # Slices of one patient may differ in size.
    volumes = [tuple(map(np.concatenate, zip(*slices, strict=True))) for slices in patients.values()]
    return {t: float(np.mean([dice(found >= t, true) for found, true in volumes])) for t in thresholds}


def _views(lgg: list[SequenceSlice], single: list[SequenceSlice], size: int) -> list[list[OutlinedInput]]:
    """What the one threshold is chosen on, since it has to serve all of it.

    LGG patients with three sequences and with FLAIR alone, and single T1 post-contrast slices.
    """
    views = [
        outlined_inputs(lgg, size, pick(*LGG_SEQUENCES)),
        outlined_inputs(lgg, size, pick("flair")),
        outlined_inputs(single, size, pick(SEQUENCE)),
    ]
    return [view for view in views if view]


def _mean_over_views(graph: nn.Module, views: list[list[OutlinedInput]]) -> Mapping[float, float]:
    """Mean Dice by threshold, every view counting alike."""
    by_view = []
    for inputs in views:
        probabilities = run_batches(graph, np.stack([item.image for item in inputs]))[0][:, 0]
        by_view.append(dice_by_threshold(list(probabilities), inputs, THRESHOLDS))
    return {t: float(np.mean([scores[t] for scores in by_view])) for t in THRESHOLDS}


def export_segmenter(trained: Trained, run: Path, data: Path, sizes: Sequence[int] | None = None) -> Export:
    """Write ``model.onnx``; the record of what was chosen."""
    graph = SegmenterGraph(half_weights(fold_normalisation(trained.model)))
    lgg = list(lgg_slices(data, "val"))
    single = list(one_by_one(outlined_slices(data, "val")))
    scores: dict[int, float] = {}
    best: dict[int, tuple[float, FloatArray]] = {}
    for candidate in sorted(sizes or candidate_sizes(trained, SIZES)):
        views = _views(lgg, single, candidate)
        threshold, scores[candidate] = max(_mean_over_views(graph, views).items(), key=itemgetter(1))
        best[candidate] = threshold, np.stack([item.image for item in views[0][:: max(1, len(views[0]) // 16)]])
    size = max(scores, key=scores.__getitem__)
    threshold, sample = best[size]
    path = run / REFERENCE_FILE
    export_graph(graph, torch.from_numpy(sample[:2]), path, IMAGES, OUTPUTS)
    return Export(
        **trained.about(),
        size=size,
        **differences(graph, SegmenterGraph(trained.model), path, sample),
        sizes={str(candidate): score for candidate, score in scores.items()},
        threshold=threshold,
    )


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

    def answer(name: str, inputs: list[OutlinedInput]) -> tuple[float, BoolArray]:
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
