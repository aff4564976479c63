"""Slices as they were published, prepared for a graph exactly as a request is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from core.imaging.preparation.transforms import ANY_SEQUENCE, Placement, prepare_classification, prepare_segmentation
from training.data.archives import BoolArray, FloatArray
from training.data.labelled import Labelled, read_greys, slice_rows
from training.data.multisequence import SequenceSlice


@dataclass(frozen=True)
class LabelledInputs(Labelled):
    """``images`` float32 (n, 1, s, s)."""

    images: FloatArray


def labelled_inputs(data: Path, split: str, size: int, labels: tuple[str, ...]) -> LabelledInputs:
    """Every slice of a split."""
    rows = slice_rows(data, split, labels)
    spec = ClassificationPreprocessing(size=size)
    images = [prepare_classification(grey, spec)[0] for grey in read_greys(data, rows)]
    truth = np.array([labels.index(row.label) for row in rows], np.int64)
    return LabelledInputs(truth, rows, np.stack(images))


@dataclass(frozen=True)
class OutlinedInput:
    """One slice for the segmenter: ``image`` float32 (4, s, s), where it sits, the true mask (h, w) and its patient."""

    image: FloatArray
    placement: Placement
    mask: BoolArray
    patient: str


def pick(*names: str) -> Callable[[SequenceSlice], Mapping[str, FloatArray]]:
    """Only these sequences, under their names."""
    return lambda item: {name: item.sequences[name] for name in names}


def alone(name: str) -> Callable[[SequenceSlice], Mapping[str, FloatArray]]:
    """One sequence as a single grey upload whose sequence is not told."""
    return lambda item: {ANY_SEQUENCE: item.sequences[name]}


def one_by_one(slices: Iterable[SequenceSlice]) -> Iterator[SequenceSlice]:
    """Each as a patient of its own: published single slices of a patient are no volume."""
    return (replace(item, patient=str(index)) for index, item in enumerate(slices))


def outlined_inputs(
    slices: Iterable[SequenceSlice], size: int, choose: Callable[[SequenceSlice], Mapping[str, FloatArray]]
) -> list[OutlinedInput]:
    """Every slice with the sequences that ``choose`` shows."""
    spec = SegmentationPreprocessing(size=size)
    inputs = []
    for item in slices:
        image, placement = prepare_segmentation(choose(item), spec)
        inputs.append(OutlinedInput(image, placement, item.mask, item.patient))
    return inputs
