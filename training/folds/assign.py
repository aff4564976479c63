"""Which fold holds out which item: patients and clusters of copies stay whole, sources and labels spread evenly.

An item is a row of a table that names splits: a slice of ``slices.csv`` or ``lgg.csv``, a case of
``brats2018/cases.csv``, or a sample of a user's own folder. Rows of ``test`` are not looked at.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Final

from training.audit.duplicates import all_copies, fingerprints, group_names
from training.audit.splitting import split_groups
from training.data.archives import read_rows
from training.data.brats_2018 import SAME_PATIENT, TABLE
from training.data.own import is_own, own_data
from training.data.published import LggTable, SlicesTable
from training.data.samples import SPLITS_FILE, DataSet, Sample

CASES: Final = f"brats2018/{TABLE}"
# Of an item that is never held out.
ALWAYS_TRAINS: Final = -1
_POOL: Final = ("train", "val")


@dataclass(frozen=True)
class Item:
    """One row of a table: ``fold`` holds it out, or it is ``ALWAYS_TRAINS``. No fold cuts a ``group``."""

    table: str
    name: str
    group: str
    # Source and label, which every fold has about alike.
    stratum: str
    fold: int


def assigned(data: Path, folds: int, seed: int, patients: Mapping[str, str]) -> tuple[Item, ...]:
    """Every row of ``train`` and ``val`` with its fold, sorted by table and name.

    ``patients`` names the patient of rows whose table does not. Where a source knows the patients of some of its rows,
    the others may be of anybody: a group that holds one of them always trains, and is evidence for nothing. The result
    depends on what the rows hold, on ``folds`` and ``seed``, and not on their order.

    Raises ValueError for fewer than two folds, fewer groups than folds, or data without a split.
    """
    if folds < 2:
        raise ValueError(f"{folds} folds are too few: one that is held out and one to learn from are the least")
    sets = [(table, data_set, _named(samples, patients)) for table, data_set, samples in _sets(data)]
    prints = fingerprints(chain.from_iterable(data_set.pixels(samples) for _, data_set, samples in sets))
    cases = [] if is_own(data) else _named(_cases(data), patients)
    pool = [sample for _, _, samples in sets for sample in samples]
    tables = [table for table, _, samples in sets for _ in samples] + [CASES] * len(cases)
    groups = group_names([*pool, *cases], all_copies(prints, pool))
    pool += cases
    if not pool:
        raise ValueError(f"{data} has no rows of train and val: run `python -m training split {data}` first")
    strata = [f"{sample.source}/{sample.label}" for sample in pool]
    fixed = _of_anybody(pool, groups)
    free = [index for index, group in enumerate(groups) if group not in fixed]
    shares = {str(fold): 1 / folds for fold in range(folds)}
    places = split_groups([groups[i] for i in free], [strata[i] for i in free], shares, seed)
    fold_of = dict(zip(free, map(int, places), strict=True))
    items = [
        Item(table, sample.name, group, stratum, fold_of.get(index, ALWAYS_TRAINS))
        for index, (table, sample, group, stratum) in enumerate(zip(tables, pool, groups, strata, strict=True))
    ]
    return tuple(sorted(items, key=lambda item: (item.table, item.name)))


def _sets(data: Path) -> Iterator[tuple[str, DataSet, Sequence[Sample]]]:
    """Table, data set and samples of ``train`` and ``val``, by name so that no order of rows matters."""
    found: Iterable[tuple[str, DataSet]]
    if is_own(data):
        found = [(SPLITS_FILE, own_data(data))]
    else:
        found = [(layout.layout, layout(data)) for layout in (SlicesTable, LggTable) if layout.recognises(data)]
    for table, data_set in found:
        yield table, data_set, [sample for sample in data_set.samples if sample.split in _POOL]


def _cases(data: Path) -> Iterator[Sample]:
    """Cases of whole volumes; what they show is not compared with the slices."""
    if not (data / CASES).is_file():
        return
    for row in sorted(read_rows(data / CASES), key=lambda row: row["case"]):
        if row["split"] in _POOL:
            patient = SAME_PATIENT.get(row["case"], row["case"])
            yield Sample(row["case"], (), "brats2018", row.get("grade", ""), patient=patient, split=row["split"])


def _named(samples: Iterable[Sample], patients: Mapping[str, str]) -> list[Sample]:
    """The samples, with patients of the table where they have none of their own."""
    return [replace(item, patient=item.patient or patients.get(item.name, "")) for item in samples]


def _of_anybody(samples: Sequence[Sample], groups: Sequence[str]) -> frozenset[str]:
    """Groups with a sample of no known patient, of a source that knows some of its patients."""
    knowing = {sample.source for sample in samples if sample.patient}
    pairs = zip(samples, groups, strict=True)
    return frozenset(group for sample, group in pairs if not sample.patient and sample.source in knowing)


def write_items(items: Iterable[Item], path: Path) -> None:
    """One line an item."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([field.name for field in fields(Item)])
        writer.writerows(map(astuple, items))


def read_items(path: Path) -> tuple[Item, ...]:
    """What ``write_items`` wrote."""
    return tuple(Item(**{**row, "fold": int(row["fold"])}) for row in read_rows(path))  # type: ignore[arg-type]


def read_patients(path: Path) -> dict[str, str]:
    """Patients by the name of their slice. Raises ValueError for a table without ``name`` and ``patient``."""
    rows = read_rows(path)
    if not rows or not {"name", "patient"} <= rows[0].keys():
        raise ValueError(f"{path} must have the columns name and patient, and a row")
    return {row["name"]: row["patient"] for row in rows}
