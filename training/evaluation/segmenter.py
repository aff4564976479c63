"""Masks that a graph draws on the outlined splits, in original pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from core.contracts.manifest import ClassificationPreprocessing
from core.imaging.preparation.transforms import ANY_SEQUENCE, prepare_classification
from training.bundle.onnx_files import OnnxModel
from training.data.archives import FloatArray
from training.data.healthy import healthy_rows, healthy_slices
from training.data.lgg import PANELS, lgg_rows, lgg_slices
from training.data.multisequence import SequenceSlice
from training.data.outlined import SEQUENCE as OUTLINED_SEQUENCE
from training.data.outlined import outlined_rows, outlined_slices
from training.data.own import is_own
from training.evaluation.inputs import alone, outlined_inputs, pick
from training.evaluation.mask_figures import FIGSHARE, HEALTHY, LGG, count_masks
from training.evaluation.predictions import MaskPredictions

OUTLINE: Final = "outline of the classifier"
# Where a classifier draws an outline as well, a pixel is tumour from this probability on (the paper's).
OUTLINE_THRESHOLD: Final = 0.5

# A user's folder in place of the published sets.
OWN: Final = "own data"

Views = Mapping[str, Callable[[SequenceSlice], Mapping[str, FloatArray]]]

# What a segmenter is shown of each published data set.
VIEWS: Final[Mapping[str, Views]] = {
    LGG: {
        "t1+t1ce+flair": pick(*PANELS),
        "flair alone": pick("flair"),
        "t1ce alone": pick("t1ce"),
        "flair as a grey image": alone("flair"),
    },
    FIGSHARE: {"t1ce": pick(OUTLINED_SEQUENCE), "as a grey image": alone(OUTLINED_SEQUENCE)},
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
    found = {}
    if is_own(data):
        found[OWN] = [row.image for row in lgg_rows(data, split)], list(lgg_slices(data, split))
    if (data / "lgg.csv").exists():
        found[LGG] = [row.image for row in lgg_rows(data, split)], list(lgg_slices(data, split))
    if (data / "slices.csv").exists():
        found[FIGSHARE] = [row.image for row in outlined_rows(data, split)], list(outlined_slices(data, split))
        found[HEALTHY] = [row.image for row in healthy_rows(data, split)], list(healthy_slices(data, split))
    return {name: part for name, part in found.items() if part[0]}


def mask_answers(path: Path, size: int, threshold: float, data: Path, split: str) -> MaskPredictions:
    """Predict every outlined slice of the split in every view. Raises FileNotFoundError where there is none."""
    model = OnnxModel(path)
    parts = []
    for data_set, (images, slices) in outlined_split(data, split).items():
        for view, choose in views_of(data_set, slices).items():
            pairs = []
            for item in outlined_inputs(slices, size, choose):
                probability = model.run(item.image[None])["probability"][0, 0]
                pairs.append((item.placement.restore(probability) >= threshold, item.mask))
            parts.append(count_masks(pairs, images, [item.patient for item in slices], data_set, view))
    if not parts:
        raise FileNotFoundError(f"{data} has no outlined slice of split {split}")
    return MaskPredictions.joined(parts)


def outline_answers(path: Path, size: int, data: Path, split: str) -> MaskPredictions | None:
    """The outlines that a classifier with two tasks draws on Figshare slices; None for a graph that draws none."""
    model = OnnxModel(path)
    rows = outlined_rows(data, split)
    if "probability" not in model.outputs or not rows:
        return None
    spec = ClassificationPreprocessing(size=size)
    pairs, patients = [], []
    for item in outlined_slices(data, split):
        image, placement = prepare_classification(item.sequences[OUTLINED_SEQUENCE], spec)
        probability = model.run(image[None])["probability"][0, 0]
        pairs.append((placement.restore(probability) >= OUTLINE_THRESHOLD, item.mask))
        patients.append(item.patient)
    return count_masks(pairs, [row.image for row in rows], patients, FIGSHARE, OUTLINE)
