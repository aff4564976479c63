"""The published sets, slices.csv and lgg.csv with their archives, as data sets like any other; and ``detect``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from core.imaging.preparation.transforms import ANY_SEQUENCE
from training.data import lgg, slices
from training.data.archives import TarImages, read_rows
from training.data.brats_nifti import BratsCases
from training.data.layouts import own_data_set
from training.data.samples import DataSet, Pixels, Sample

# As slices.csv writes them.
_SEQUENCES = {"T1": "t1", "T1C": "t1ce", "T2": "t2", "FLAIR": "flair"}


class SlicesTable(DataSet):
    """Every row of slices.csv; its ``group``, a patient or a cluster of copies over all sources, is the patient."""

    layout = "slices.csv"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the table is there."""
        return (folder / slices.TABLE).is_file()

    def describe(self) -> Iterator[Sample]:
        """CT heads included: they are in the splits as published."""
        for row in read_rows(self.folder / slices.TABLE):
            sequence = _SEQUENCES.get(row["sequence"], ANY_SEQUENCE)
            yield Sample(
                row["image"], (sequence,), row["source"], row["label"], row["mask"], row["group"], row["split"]
            )

    def pixels(self, samples: Iterable[Sample]) -> Iterator[Pixels]:
        """Out of the archives, which stay open meanwhile."""
        with slices.open_slices(self.folder) as archive:
            for sample in samples:
                mask = archive.grey(sample.mask) > 0.5 if sample.mask else None
                yield Pixels({sample.sequences[0]: archive.grey(sample.image)}, mask)


class LggTable(DataSet):
    """Every row of lgg.csv."""

    layout = "lgg.csv"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the table is there."""
        return (folder / lgg.TABLE).is_file()

    def describe(self) -> Iterator[Sample]:
        """Slices without tumour included."""
        for row in read_rows(self.folder / lgg.TABLE):
            yield Sample(row["image"], lgg.PANELS, "lgg", "", row["mask"], row["patient"], row["split"])

    def pixels(self, samples: Iterable[Sample]) -> Iterator[Pixels]:
        """Out of the archive, which stays open meanwhile."""
        with TarImages(self.folder / lgg.ARCHIVE) as archive:
            for sample in samples:
                item = lgg.read_lgg(archive, lgg.LggRow(sample.image, sample.mask, sample.patient, sample.split))
                yield Pixels(item.sequences, item.mask)


def detect(folder: Path) -> tuple[DataSet, ...]:
    """The data sets in a folder: the published ones that are there, else the one layout of a user's own data.

    Raises ValueError where it is in no known layout.
    """
    published = [layout(folder) for layout in (SlicesTable, LggTable) if layout.recognises(folder)]
    if not published:
        return (own_data_set(folder),)
    cases = folder / "brats"
    return (*published, BratsCases(cases)) if BratsCases.recognises(cases) else tuple(published)
