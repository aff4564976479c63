"""The one record that every layout yields: a slice described, and on demand its pixels.

Describing is cheap and never decodes an image, so that a data set can be counted, split and filtered before it is read.
"""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from training.data.archives import BoolArray, FloatArray, UInt8Array, read_rows

SPLITS = ("train", "val", "test")
# Lies in a user's folder, is written by ``training split`` and then overrules every split the layout itself knows.
SPLITS_FILE = "splits.csv"


@dataclass(frozen=True)
class Sample:
    """One slice of any layout.

    ``image`` and ``mask`` are files relative to the data set's folder (of a volume: its case), ``mask`` empty where
    nothing is outlined; ``position`` is the slice's index in its volume. ``sequences`` are names of
    ``core.contracts.sequences.SEQUENCES``, or ``image`` alone where the sequence is not known. ``patient`` is the
    patient, or another unit whose slices are known to belong together. Unknown text is empty.
    """

    image: str
    sequences: tuple[str, ...]
    source: str
    label: str = ""
    mask: str = ""
    patient: str = ""
    split: str = ""
    position: int | None = None

    @property
    def name(self) -> str:
        """Unique in its data set."""
        return self.image if self.position is None else f"{self.image}#{self.position}"

    @property
    def unit(self) -> str:
        """The patient, or the sample alone where none is known."""
        return self.patient or self.name

    @property
    def group(self) -> str:
        """What the bootstrap draws: a unit of its source."""
        return f"{self.source}:{self.unit}"


@dataclass(frozen=True)
class Pixels:
    """What a sample shows: grey (h, w) in [0, 1] by sequence, all of one size.

    ``mask`` bool (h, w) is the whole tumour, None where it is not outlined. ``regions`` uint8 (h, w) has 1 in the
    necrotic or non-enhancing core, 2 in oedema and 3 where it enhances; None where they are not told apart.
    """

    sequences: Mapping[str, FloatArray]
    mask: BoolArray | None = None
    regions: UInt8Array | None = None


class DataSet(ABC):
    """A folder in one layout. Subclasses say how to recognise, describe and read it."""

    layout: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @abstractmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the folder is in this layout."""

    @abstractmethod
    def describe(self) -> Iterable[Sample]:
        """Every slice, in any order. Raises ValueError where a file contradicts the layout."""

    @abstractmethod
    def pixels(self, samples: Iterable[Sample]) -> Iterator[Pixels]:
        """What is in these samples of this data set, in their order. Raises ValueError for a file it cannot read."""

    @cached_property
    def described(self) -> tuple[Sample, ...]:
        """Every slice, by name with numbers in order, whatever ``splits.csv`` says."""
        return tuple(sorted(self.describe(), key=lambda sample: _natural(sample.name)))

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The same, split as ``splits.csv`` says where there is one."""
        table = self.folder / SPLITS_FILE
        return with_splits(self.described, table) if table.exists() else self.described


def _natural(name: str) -> list[str | int]:
    """Sorts slice 2 before slice 10. Text and numbers alternate, so they never meet in a comparison."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def with_splits(samples: Sequence[Sample], table: Path) -> tuple[Sample, ...]:
    """The samples with the splits of a table, where an empty one is of no use to anybody.

    Raises ValueError where a sample is not in the table or its split is unknown.
    """
    splits = {row["name"]: row["split"] for row in read_rows(table)}
    unknown = sorted(set(splits.values()) - {*SPLITS, ""})
    if unknown:
        raise ValueError(f"{table}: unknown split {unknown[0]!r}, expected one of {', '.join(SPLITS)}")
    missing = next((sample.name for sample in samples if sample.name not in splits), None)
    if missing is not None:
        raise ValueError(f"{table} does not name {missing}: make it anew with `python -m training split`")
    return tuple(replace(sample, split=splits[sample.name]) for sample in samples)


def write_splits(samples: Iterable[Sample], splits: Iterable[str], groups: Iterable[str], table: Path) -> None:
    """One line a sample, sorted by name: ``name``, ``split``, and for the reader ``label``, ``patient``, ``group``."""
    lines = sorted(
        (sample.name, split, sample.label, sample.patient, group)
        for sample, split, group in zip(samples, splits, groups, strict=True)
    )
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("name", "split", "label", "patient", "group"))
        writer.writerows(lines)
