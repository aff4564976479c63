"""Masks that a graph draws on the outlined splits, in original pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.tensors import PROBABILITY
from core.imaging.preparation.transforms import ANY_SEQUENCE
from training.bundle.export import run_batches
from training.bundle.graphs import SegmenterGraph
from training.bundle.onnx_files import OnnxModel
from training.data.archives import FloatArray
from training.data.multisequence import SequenceSlice
from training.data.outlined import (
    LGG_SEQUENCES,
    SEQUENCE,
    healthy_rows,
    healthy_slices,
    lgg_rows,
    lgg_slices,
    outlined_rows,
    outlined_slices,
)
from training.data.own import is_own
from training.data.published import LggTable, SlicesTable
from training.data.samples import Sample
from training.evaluation.answers import Answers, MaskAnswers, joined
from training.evaluation.evaluate import Subject, evaluate_masks
from training.evaluation.inputs import alone, outlined_inputs, pick
from training.evaluation.mask_figures import FIGSHARE, HEALTHY, LGG, count_masks, mask_metrics
from training.evaluation.predictions import MaskPredictions
from training.loop.checkpoints import Trained
from training.records import Evaluate

# A user's folder in place of the published sets.
OWN: Final = "own data"

Views = Mapping[str, Callable[[SequenceSlice], Mapping[str, FloatArray]]]

# What a segmenter is shown of each published data set.
VIEWS: Final[Mapping[str, Views]] = {
    LGG: {
        "t1+t1ce+flair": pick(*LGG_SEQUENCES),
        "flair alone": pick("flair"),
        "t1ce alone": pick("t1ce"),
        "flair as a grey image": alone("flair"),
    },
    FIGSHARE: {"t1ce": pick(SEQUENCE), "as a grey image": alone(SEQUENCE)},
    HEALTHY: {"as a grey image": alone(ANY_SEQUENCE)},
}


def views_of(data_set: str, slices: Sequence[SequenceSlice]) -> Views:
    """By name what a segmenter is shown; of a user's data all sequences, and the first as a grey image."""
    if data_set in VIEWS:
        return VIEWS[data_set]
    names = tuple(slices[0].sequences)
    return {"+".join(names): pick(*names), f"{names[0]} as a grey image": alone(names[0])}


def outlined_split(data: Path, split: str) -> dict[str, tuple[list[str], list[SequenceSlice]]]:
    """Image names and slices of the split, as published, by data set; sets that are not there are left out."""
    found: dict[str, tuple[Sequence[Sample], Iterable[SequenceSlice]]] = {}
    if is_own(data) or LggTable.recognises(data):
        found[OWN if is_own(data) else LGG] = lgg_rows(data, split), lgg_slices(data, split)
    if SlicesTable.recognises(data):
        found[FIGSHARE] = outlined_rows(data, split), outlined_slices(data, split)
        found[HEALTHY] = healthy_rows(data, split), healthy_slices(data, split)
    return {name: ([row.name for row in rows], list(slices)) for name, (rows, slices) in found.items() if rows}


def evaluate_segmenter(subject: Subject, data: Path, split: str) -> Evaluate:
    """Every outlined slice in every view."""
    spec = subject.preprocessing
    assert isinstance(spec, SegmentationPreprocessing)
    size, threshold = spec.size, subject.thresholds[0]
    return evaluate_masks(subject, split, lambda path: mask_answers(path, size, threshold, data, split), mask_metrics)


def mask_answers(path: Path, size: int, threshold: float, data: Path, split: str) -> MaskPredictions:
    """Predict every outlined slice of the split in every view. Raises FileNotFoundError where there is none."""
    model = OnnxModel(path)
    parts = []
    for data_set, (images, slices) in outlined_split(data, split).items():
        for view, choose in views_of(data_set, slices).items():
            pairs = []
            for item in outlined_inputs(slices, size, choose):
                probability = model.run(item.image[None])[PROBABILITY][0, 0]
                pairs.append((item.placement.restore(probability) >= threshold, item.mask))
            parts.append(count_masks(pairs, images, [item.patient for item in slices], data_set, view))
    if not parts:
        raise FileNotFoundError(f"{data} has no outlined slice of split {split}")
    return MaskPredictions.joined(parts)


def masks_by_threshold(trained: Trained, data: Path, split: str) -> Answers:
    """Every outlined slice of a split in every view, in original pixels, at the size that the network knows.

    Raises FileNotFoundError where there is none.
    """
    graph = SegmenterGraph(trained.model)
    parts = []
    for data_set, (images, slices) in outlined_split(data, split).items():
        for view, choose in views_of(data_set, slices).items():
            inputs = outlined_inputs(slices, trained.size, choose)
            # One at a time, each put back at once: probabilities of a whole split are more than memory may have.
            answers = (run_batches(graph, item.image[None])[0][0, 0] for item in inputs)
            pairs = ((item.placement.restore(answer), item.mask) for item, answer in zip(inputs, answers, strict=True))
            parts.append(MaskAnswers.counted(pairs, images, [item.patient for item in slices], data_set, view))
    if not parts:
        raise FileNotFoundError(f"{data} has no outlined slice of split {split}")
    return joined(parts)
