"""Copies of BraTS 2018 cases with a table of their splits, sites and doubts, ``cases.csv``; and their axial slices.

Sequences are unsigned bytes on 1.25 mm voxels, of ``test`` on 1 mm; labels are 1 necrotic or non-enhancing core, 2
oedema, 3 enhancing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from training.data.archives import read_rows
from training.data.cases import BratsCases, Case
from training.data.samples import Sample

TABLE: Final = "cases.csv"
# Patients that other sets have under another name: whatever keeps patients apart must know that they are one.
SAME_PATIENT: Final[Mapping[str, str]] = {"TCIA13_623": "TCGA_HT_7473_19970826"}


class Brats2018(BratsCases):
    """Every case of the table; its ``patient`` is the case, or the name that the patient has in another set."""

    layout = "BraTS 2018 with cases.csv"
    source = "brats2018"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the table is there, and cases."""
        return (folder / TABLE).is_file() and super().recognises(folder)

    @property
    def rows(self) -> Mapping[str, Mapping[str, str]]:
        """Of the table, by the name of the case."""
        return {row["case"]: row for row in read_rows(self.folder / TABLE)}

    def find_cases(self) -> Iterator[Case]:
        """Raises ValueError where the table does not name a case."""
        rows = self.rows
        for case in super().find_cases():
            if case.name not in rows:
                raise ValueError(f"{self.folder / TABLE} does not name {case.name}")
            yield replace(case, patient=SAME_PATIENT.get(case.name, case.name))

    def describe(self) -> Iterator[Sample]:
        """Slices with the split of their case."""
        rows = self.rows
        for sample in super().describe():
            yield replace(sample, split=rows[sample.image]["split"])

    def of_split(self, split: str) -> Iterator[tuple[Case, Mapping[str, str]]]:
        """Cases with their rows."""
        rows, cases = self.rows, self.cases
        yield from ((case, rows[name]) for name, case in cases.items() if rows[name]["split"] == split)
