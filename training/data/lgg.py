"""TCGA-LGG slices with FLAIR-abnormality masks (lgg.csv): T1, T1 post-contrast and FLAIR, no T2.

In a few patients a channel repeats FLAIR because the sequence was missing. The channels are used as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.contracts.manifest import SegmentationPreprocessing
from training.data.archives import TarImages, cached, read_rows
from training.data.multisequence import SequenceSlice, SequenceSlices, prepare_arrays, present_mask
from training.data.own import MASK, is_own, own_data, own_key, own_outlined, own_slices

TABLE = "lgg.csv"
ARCHIVE = "lgg.tar"
# Order of the three panels in each published image.
PANELS = ("t1", "flair", "t1ce")
# The same in the order of channels.
LGG_SEQUENCES = ("t1", "t1ce", "flair")


@dataclass(frozen=True)
class LggRow:
    """One line of lgg.csv."""

    image: str
    mask: str
    patient: str
    split: str


def lgg_rows(data: Path, split: str) -> tuple[LggRow, ...]:
    """Rows of one split, by patient and then by position in the head.

    Of a user's own folder every outlined slice, in its own order. Raises ValueError where it has no such split.
    """
    if is_own(data):
        samples = own_outlined(data, split)
        return tuple(LggRow(s.name, s.name + MASK, s.patient or s.name, split) for s in samples)
    rows = [row for row in read_rows(data / TABLE) if row["split"] == split]
    rows.sort(key=lambda row: (row["patient"], int(row["slice"])))
    return tuple(LggRow(row["image"], row["mask"], row["patient"], split) for row in rows)


def read_lgg(archive: TarImages, row: LggRow) -> SequenceSlice:
    """One slice as published."""
    panels = archive.grey(row.image)
    width = panels.shape[1] // len(PANELS)
    sequences = {name: panels[:, i * width : (i + 1) * width] for i, name in enumerate(PANELS)}
    return SequenceSlice(sequences, archive.grey(row.mask) > 0.5, row.patient)


def lgg_slices(data: Path, split: str) -> Iterator[SequenceSlice]:
    """All slices of one split as published."""
    if is_own(data):
        yield from own_slices(data, split)
        return
    with TarImages(data / ARCHIVE) as archive:
        for row in lgg_rows(data, split):
            yield read_lgg(archive, row)


def load_lgg(data: Path, split: str, spec: SegmentationPreprocessing) -> SequenceSlices:
    """Slices of one split, prepared once by the serving transform and cached."""
    rows = lgg_rows(data, split)
    key = {"spec": spec.model_dump(), "images": [row.image for row in rows]} | own_key(data)
    name = f"lgg-{split}-{spec.size}"
    arrays = cached(name, key, lambda: dict(prepare_arrays(lgg_slices(data, split), len(rows), spec)))
    names = own_data(data).samples[0].sequences if is_own(data) else PANELS
    return SequenceSlices(arrays["images"], arrays["masks"], present_mask(*names))
