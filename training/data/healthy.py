"""Labelled slices without tumour as segmentation data: one grey slice of no known sequence, and nothing to outline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.sequences import SEQUENCES
from core.imaging.preparation.transforms import ANY_SEQUENCE
from training.data.archives import cached
from training.data.multisequence import SequenceSlice, SequenceSlices, prepare_arrays, present_mask
from training.data.own import is_own
from training.data.slices import SliceRow, open_slices, slice_rows

LABEL = "no_tumor"


def healthy_rows(data: Path, split: str) -> tuple[SliceRow, ...]:
    """Rows of slices.csv that show no tumour; none of a user's own folder or without the table."""
    if is_own(data):
        return ()
    return slice_rows(data, split, (LABEL,))


def healthy_slices(data: Path, split: str) -> Iterator[SequenceSlice]:
    """All of them as published, each with an empty mask."""
    with open_slices(data) as archive:
        for row in healthy_rows(data, split):
            grey = archive.grey(row.image)
            yield SequenceSlice({ANY_SEQUENCE: grey}, np.zeros(grey.shape, np.bool_), row.group)


def load_healthy(data: Path, split: str, spec: SegmentationPreprocessing) -> SequenceSlices:
    """Slices of one split, prepared once by the serving transform and cached: the slice fills every channel."""
    rows = healthy_rows(data, split)
    key = {"spec": spec.model_dump(), "images": [row.image for row in rows]}
    name = f"healthy-{split}-{spec.size}"
    arrays = cached(name, key, lambda: dict(prepare_arrays(healthy_slices(data, split), len(rows), spec)))
    return SequenceSlices(arrays["images"], arrays["masks"], present_mask(*SEQUENCES))
