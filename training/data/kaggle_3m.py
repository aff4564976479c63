"""The Kaggle LGG set unpacked: ``TCGA_XX_NNNN_DATE/*_N.tif`` of three channels, ``*_N_mask.tif`` beside each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from training.data.samples import DataSet, Pixels, Sample

# Order of the three channels, and of the panels in each image of lgg.csv.
CHANNELS: Final = ("t1", "flair", "t1ce")
_MASKS: Final = "TCGA_*/TCGA_*_mask.tif"


def _mask_files(folder: Path) -> Iterator[Path]:
    """In the folder of the cases itself, or one or two levels above it, as the archive is unpacked."""
    for pattern in (_MASKS, f"*/{_MASKS}", f"*/*/{_MASKS}"):
        yield from folder.glob(pattern)


class Kaggle3m(DataSet):
    """Channels are T1 pre-contrast, FLAIR and T1 post-contrast, as published, also where one repeats FLAIR.

    A patient is ``TCGA_XX_NNNN``: the date in the folder's name is that of a scan.
    """

    layout = "kaggle_3m tree"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether there is a mask of a TCGA case."""
        return next(_mask_files(folder), None) is not None

    def describe(self) -> Iterator[Sample]:
        """Every slice that has a mask, empty ones included."""
        for path in _mask_files(self.folder):
            mask = path.relative_to(self.folder).as_posix()
            yield Sample(
                image=mask.removesuffix("_mask.tif") + ".tif",
                sequences=CHANNELS,
                source="kaggle_3m",
                mask=mask,
                patient="_".join(path.parent.name.split("_")[:3]),
            )

    def pixels(self, samples: Iterable[Sample]) -> Iterator[Pixels]:
        """One slice after the other."""
        for sample in samples:
            with Image.open(self.folder / sample.image) as image:
                channels = np.asarray(image)
            if channels.ndim != 3 or channels.shape[2] != len(CHANNELS) or channels.dtype != np.uint8:
                raise ValueError(f"{sample.image}: expected three channels of 8 bits")
            with Image.open(self.folder / sample.mask) as image:
                mask = np.asarray(image.convert("L")) > 127
            planes = np.ascontiguousarray(channels.transpose(2, 0, 1), np.float32) / np.float32(255)  # (3, h, w)
            yield Pixels(dict(zip(CHANNELS, planes, strict=True)), mask)
