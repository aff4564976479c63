"""Labelled 2D slices of four sources (slices.csv): one label a slice, tumour masks on the Figshare part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import ClassificationPreprocessing
from core.imaging.preparation.transforms import prepare_classification
from training.data.archives import Images, TarImages, UInt8Array, cached, read_rows, to_uint8
from training.data.own import MASK, OwnImages, is_own, own_key, own_samples
from training.data.samples import Sample

TABLE = "slices.csv"
ARCHIVES = ("slices_figshare.tar", "slices_other.tar")
LABELS = ("glioma", "meningioma", "pituitary", "no_tumor")


@dataclass(frozen=True)
class SliceRow:
    """One line of slices.csv. ``group``: the patient where known, else the cluster of near-duplicates or the image."""

    image: str
    mask: str
    label: str
    split: str
    source: str
    group: str


@dataclass(frozen=True)
class Slices:
    """Prepared slices of one split at one size.

    ``images`` uint8 (n, s, s); ``masks`` uint8 (n, s, s), 255 inside the tumour; ``has_mask`` bool (n,): false where
    the tumour was never outlined; ``labels`` int64 (n,) into the label names; ``rows`` in the same order.
    """

    images: UInt8Array
    masks: UInt8Array
    has_mask: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    rows: tuple[SliceRow, ...]


@cache
def ct_heads() -> frozenset[str]:
    """Names of the ``no_tumor`` slices that are CT and not MR."""
    lines = Path(__file__).with_name("ct_heads.txt").read_text().splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def slice_rows(data: Path, split: str, labels: tuple[str, ...] = LABELS) -> tuple[SliceRow, ...]:
    """Rows of one split with one of ``labels``. CT heads are left out of ``train``; other splits stay as given.

    Of a user's own folder the labelled slices. Raises ValueError where it has no such split.
    """
    if is_own(data):
        return tuple(_own_row(sample) for sample in own_samples(data, split) if sample.label in labels)
    rows = []
    for row in read_rows(data / TABLE):
        excluded = split == "train" and row["image"] in ct_heads()
        if row["split"] == split and row["label"] in labels and not excluded:
            group = f"{row['source']}:{row['group'] or row['image']}"
            rows.append(SliceRow(row["image"], row["mask"], row["label"], split, row["source"], group))
    return tuple(rows)


def _own_row(sample: Sample) -> SliceRow:
    group = f"{sample.source}:{sample.patient or sample.name}"
    mask = sample.name + MASK if sample.mask else ""
    return SliceRow(sample.name, mask, sample.label, sample.split, sample.source, group)


def open_slices(data: Path) -> Images:
    """The archives that hold the slices; absent ones are skipped, so that a part of the data is usable."""
    if is_own(data):
        return OwnImages(data)
    return TarImages(*(data / name for name in ARCHIVES if (data / name).exists()))


def load_slices(data: Path, split: str, spec: ClassificationPreprocessing, labels: tuple[str, ...] = LABELS) -> Slices:
    """Slices of one split, prepared once by the serving transform and cached."""
    rows = slice_rows(data, split, labels)

    def build() -> dict[str, npt.NDArray[Any]]:
        images = np.empty((len(rows), spec.size, spec.size), np.uint8)
        masks = np.zeros_like(images)
        with open_slices(data) as archive:
            for index, row in enumerate(rows):
                image, placement = prepare_classification(archive.grey(row.image), spec)
                images[index] = to_uint8(image[0])
                if row.mask:
                    masks[index] = to_uint8(placement.cut(archive.grey(row.mask), spec.size))
        return {"images": images, "masks": masks}

    key = {"spec": spec.model_dump(), "split": split, "images": [row.image for row in rows]} | own_key(data)
    arrays = cached(f"slices-{split}-{spec.size}", key, build)
    return Slices(
        images=arrays["images"],
        masks=arrays["masks"],
        has_mask=np.array([bool(row.mask) or row.label == "no_tumor" for row in rows]),
        labels=np.array([labels.index(row.label) for row in rows], np.int64),
        rows=rows,
    )
