"""What the segmentation sets have in common: slices with up to four sequences and one tumour mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.sequences import SEQUENCES
from core.imaging.preparation.transforms import prepare_segmentation
from training.data.archives import BoolArray, FloatArray, UInt8Array, to_uint8


@dataclass(frozen=True)
class SequenceSlice:
    """One slice as published: grey (h, w) in [0, 1] by sequence, its tumour mask bool (h, w) and its patient."""

    sequences: Mapping[str, FloatArray]
    mask: BoolArray
    patient: str


@dataclass(frozen=True)
class SequenceSlices:
    """Prepared slices of one set and split.

    ``images`` uint8 (n, 4, s, s) in the order of ``SEQUENCES``; ``present`` bool (4,): the sequences the set has;
    ``masks`` uint8 (n, s, s), 255 inside the tumour; ``kinds`` (n,): the label of each, where there is one.
    """

    images: UInt8Array
    masks: UInt8Array
    present: BoolArray
    kinds: npt.NDArray[np.str_] | None = None

    @property
    def has_tumour(self) -> BoolArray:
        """bool (n,): slices with any tumour pixel."""
        return np.asarray((self.masks > 127).any(axis=(1, 2)))


def prepare_arrays(
    slices: Iterable[SequenceSlice], count: int, spec: SegmentationPreprocessing
) -> dict[str, UInt8Array]:
    """The serving transform over ``count`` slices, images and masks on one grid."""
    images = np.zeros((count, len(SEQUENCES), spec.size, spec.size), np.uint8)
    masks = np.zeros((count, spec.size, spec.size), np.uint8)
    for index, item in enumerate(slices):
        image, placement = prepare_segmentation(item.sequences, spec)
        images[index] = to_uint8(image)
        masks[index] = to_uint8(placement.cut(item.mask.astype(np.float32), spec.size))
    return {"images": images, "masks": masks}


def present_mask(*names: str) -> BoolArray:
    """bool (4,): which of ``SEQUENCES`` are among ``names``."""
    return np.array([name in names for name in SEQUENCES])
