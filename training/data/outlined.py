"""Figshare slices as segmentation data: one T1 post-contrast slice with the outline of an enhancing tumour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.contracts.manifest import SegmentationPreprocessing
from training.data.archives import cached
from training.data.multisequence import SequenceSlice, SequenceSlices, prepare_arrays, present_mask
from training.data.own import is_own, own_data, own_key
from training.data.slices import SliceRow, open_slices, slice_rows

SEQUENCE = "t1ce"


def outlined_rows(data: Path, split: str) -> tuple[SliceRow, ...]:
    """Rows of slices.csv that carry an outline; of a user's own folder the same where it is T1 post-contrast."""
    if is_own(data) and any(sample.sequences != (SEQUENCE,) for sample in own_data(data).samples):
        return ()
    return tuple(row for row in slice_rows(data, split) if row.mask)


def outlined_slices(data: Path, split: str) -> Iterator[SequenceSlice]:
    """All outlined slices of one split as published."""
    with open_slices(data) as archive:
        for row in outlined_rows(data, split):
            yield SequenceSlice({SEQUENCE: archive.grey(row.image)}, archive.grey(row.mask) > 0.5, row.group)


def load_outlined(data: Path, split: str, spec: SegmentationPreprocessing) -> SequenceSlices:
    """Outlined slices of one split, prepared once by the serving transform and cached."""
    rows = outlined_rows(data, split)
    key = {"spec": spec.model_dump(), "images": [row.image for row in rows]} | own_key(data)
    name = f"outlined-{split}-{spec.size}"
    arrays = cached(name, key, lambda: dict(prepare_arrays(outlined_slices(data, split), len(rows), spec)))
    kinds = np.array([row.label for row in rows])
    return SequenceSlices(arrays["images"], arrays["masks"], present_mask(SEQUENCE), kinds)
