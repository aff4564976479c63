"""Labelled 2D slices of four sources (slices.csv): one label a slice, tumour masks on the Figshare part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import ClassificationPreprocessing
from core.imaging.preparation.transforms import prepare_classification
from training.data.archives import BoolArray, FloatArray, IntArray, UInt8Array, cached, to_uint8
from training.data.own import is_own, own_data, own_key, own_samples
from training.data.published import SlicesTable
from training.data.samples import DataSet, Pixels, Sample

LABELS = ("glioma", "meningioma", "pituitary", "no_tumor")


@dataclass(frozen=True)
class Labelled:
    """``labels`` int64 (n,) into the label names, and ``rows`` in the same order."""

    labels: IntArray
    rows: tuple[Sample, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """What the bootstrap draws."""
        return tuple(row.group for row in self.rows)

    @property
    def sources(self) -> npt.NDArray[np.str_]:
        """Where each slice comes from (n,)."""
        return np.array([row.source for row in self.rows])


@dataclass(frozen=True)
class Slices(Labelled):
    """Prepared slices of one split at one size.

    ``images`` uint8 (n, s, s); ``masks`` uint8 (n, s, s), 255 inside the tumour; ``has_mask`` bool (n,): false where
    the tumour was never outlined.
    """

    images: UInt8Array
    masks: UInt8Array
    has_mask: BoolArray


@cache
def ct_heads() -> frozenset[str]:
    """Names of the ``no_tumor`` slices that are CT and not MR."""
    lines = Path(__file__).with_name("ct_heads.txt").read_text().splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _data_set(data: Path) -> DataSet:
    return own_data(data) if is_own(data) else SlicesTable(data)


def slice_rows(data: Path, split: str, labels: tuple[str, ...] = LABELS) -> tuple[Sample, ...]:
    """Slices of one split with one of ``labels``. CT heads are left out of ``train``; other splits stay as given.

    Of a user's own folder the labelled slices. Raises ValueError where it has no such split.
    """
    if is_own(data):
        found: Iterable[Sample] = own_samples(data, split)
    else:
        excluded = ct_heads() if split == "train" else ()
        found = (row for row in _data_set(data).describe() if row.split == split and row.image not in excluded)
    return tuple(sample for sample in found if sample.label in labels)


def check_labels(data: Path, labels: tuple[str, ...]) -> None:
    """Raise ValueError where there is nothing to learn: no slice of any label, or in a user's own folder of one."""
    samples = own_samples(data, "train") if is_own(data) else _data_set(data).describe()
    found = {sample.label for sample in samples if sample.split == "train"} - {""}
    missing = [label for label in labels if label not in found]
    if missing and (is_own(data) or len(missing) == len(labels)):
        known = ", ".join(sorted(found)) or "nothing that is labelled"
        raise ValueError(f"train of {data} has no slices of {', '.join(missing)}, but of: {known}")


def read_slices(data: Path, rows: Iterable[Sample]) -> Iterator[Pixels]:
    """What the rows show, in their order."""
    return _data_set(data).pixels(rows)


def read_greys(data: Path, rows: Iterable[Sample]) -> Iterator[FloatArray]:
    """The slices alone, grey float32 (h, w) in [0, 1]: outlines are not read."""
    pixels = read_slices(data, (replace(row, mask="") for row in rows))
    return (next(iter(item.sequences.values())) for item in pixels)


def load_slices(data: Path, split: str, spec: ClassificationPreprocessing, labels: tuple[str, ...] = LABELS) -> Slices:
    """Slices of one split, prepared once by the serving transform and cached."""
    rows = slice_rows(data, split, labels)

    def build() -> dict[str, npt.NDArray[Any]]:
        images = np.empty((len(rows), spec.size, spec.size), np.uint8)
        masks = np.zeros_like(images)
        for index, item in enumerate(read_slices(data, rows)):
            image, placement = prepare_classification(next(iter(item.sequences.values())), spec)
            images[index] = to_uint8(image[0])
            if item.mask is not None:
                masks[index] = to_uint8(placement.cut(item.mask.astype(np.float32), spec.size))
        return {"images": images, "masks": masks}

    key = {"spec": spec.model_dump(), "split": split, "images": [row.name for row in rows]} | own_key(data)
    arrays = cached(f"slices-{split}-{spec.size}", key, build)
    return Slices(
        images=arrays["images"],
        masks=arrays["masks"],
        has_mask=np.array([bool(row.mask) or row.label == "no_tumor" for row in rows]),
        labels=np.array([labels.index(row.label) for row in rows], np.int64),
        rows=rows,
    )
