"""The published sets, slices.csv and lgg.csv with their archives, as data sets like any other; and ``detect``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from core.imaging.preparation.transforms import ANY_SEQUENCE
from training.data.archives import read_rows, tar_images
from training.data.brats_2018 import Brats2018
from training.data.cases import BratsCases
from training.data.kaggle_3m import CHANNELS
from training.data.own import own_data_set
from training.data.samples import DataSet, Pixels, Sample

# As slices.csv writes them.
_SEQUENCES = {"T1": "t1", "T1C": "t1ce", "T2": "t2", "FLAIR": "flair"}


class Table(DataSet):
    """A CSV file with archives beside it; absent archives are skipped, so that a part of the data is usable."""

    archives: ClassVar[tuple[str, ...]]

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the table is there."""
        return (folder / cls.layout).is_file()

    def pixels(self, samples: Iterable[Sample]) -> Iterator[Pixels]:
        """Out of the archives, which stay open meanwhile."""
        with tar_images(*filter(Path.exists, (self.folder / name for name in self.archives))) as grey:
            for sample in samples:
                image = grey(sample.image)
                mask = grey(sample.mask) > 0.5 if sample.mask else None
                # Sequences lie side by side in one image.
                width = image.shape[1] // len(sample.sequences)
                parts = {name: image[:, i * width : (i + 1) * width] for i, name in enumerate(sample.sequences)}
                yield Pixels(parts, mask)


class SlicesTable(Table):
    """Every row of slices.csv; its ``group``, a patient or a cluster of copies over all sources, is the patient."""

    layout = "slices.csv"
    archives = ("slices_figshare.tar", "slices_other.tar")

    def describe(self) -> Iterator[Sample]:
        """CT heads included: they are in the splits as published."""
        for row in read_rows(self.folder / self.layout):
            sequence = _SEQUENCES.get(row["sequence"], ANY_SEQUENCE)
            yield Sample(
                row["image"], (sequence,), row["source"], row["label"], row["mask"], row["group"], row["split"]
            )


class LggTable(Table):
    """Every row of lgg.csv: TCGA-LGG slices with FLAIR-abnormality masks.

    In a few patients a channel repeats FLAIR because the sequence was missing. The channels are used as published.
    """

    layout = "lgg.csv"
    archives = ("lgg.tar",)

    def describe(self) -> Iterator[Sample]:
        """Slices without tumour included; by patient and then by position in the head."""
        rows = read_rows(self.folder / self.layout)
        for row in sorted(rows, key=lambda row: (row["patient"], int(row["slice"]))):
            yield Sample(row["image"], CHANNELS, "lgg", "", row["mask"], row["patient"], row["split"])


def detect(folder: Path) -> tuple[DataSet, ...]:
    """The data sets in a folder: the published ones that are there, else the one layout of a user's own data.

    Raises ValueError where it is in no known layout.
    """
    published = [layout(folder) for layout in (SlicesTable, LggTable) if layout.recognises(folder)]
    if not published:
        return (own_data_set(folder),)
    volumes = ((BratsCases, folder / "brats"), (Brats2018, folder / "brats2018"))
    return (*published, *(layout(cases) for layout, cases in volumes if layout.recognises(cases)))
