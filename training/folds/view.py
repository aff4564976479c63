"""A fold as a folder of data: the same files, and tables in which ``val`` is what the fold holds out.

Every command that takes ``--data`` takes such a folder, so that nothing else need know of folds. Files are links to
those of the data; rows of ``test`` are in no table, and their volumes have no link.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from training.audit.duplicates import CORRELATION
from training.data.archives import read_rows
from training.data.own import is_own, own_data, own_key
from training.data.published import LggTable, SlicesTable
from training.data.samples import SPLITS_FILE, write_splits
from training.data.scans import HELD_OUT
from training.folds.assign import CASES, Item, assigned, read_items, read_patients, write_items
from training.records import Record, sha256_of

ITEMS: Final = "folds.csv"
VIEW: Final = "data"
# The column of each published table that names its rows.
_KEYS: Final[Mapping[str, str]] = {"slices.csv": "image", "lgg.csv": "image", CASES: "case"}
HELD_OUT_SPLIT: Final = "val"


class Settings(Record):
    """``settings.json``: what the folds of a folder were made from."""

    folds: int
    seed: int
    correlation: float = CORRELATION
    # sha256 of the tables; of a user's own folder what its files were.
    data: dict[str, str]


@dataclass(frozen=True)
class Folds:
    """The folds of one data folder; all that is made with them lies in ``folder``."""

    folder: Path
    data: Path
    count: int
    items: tuple[Item, ...]

    @cached_property
    def groups(self) -> Mapping[str, str]:
        """Of each item, by its name, what no fold cuts."""
        return {item.name: item.group for item in self.items}

    def of(self, fold: int) -> Path:
        """Where the view of a fold and what was trained on it lie. Raises ValueError where there is no such fold."""
        if not 0 <= fold < self.count:
            raise ValueError(f"there is no fold {fold}: they are 0 to {self.count - 1}")
        return self.folder / str(fold)

    def view(self, fold: int) -> Path:
        """The data folder of a fold, made when it is first asked for."""
        view = self.of(fold) / VIEW
        if not view.exists():
            partial = view.with_name(f"{VIEW}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _write_view(self.data.resolve(), self.items, fold, partial)
            partial.replace(view)
        return view


def open_folds(data: Path, runs: Path, count: int, seed: int = 0, patients: Path | None = None) -> Folds:
    """The folds in ``RUNS/COUNT-folds``, made at the first call.

    ``patients`` is a table of ``name`` and ``patient`` for slices whose own table does not name their patient. Raises
    ValueError where the folder holds folds of other data, another seed or other patients, and as ``assigned`` does.
    """
    folder = runs / f"{count}-folds"
    settings = Settings(folds=count, seed=seed, data=_digests(data, patients))
    if not (folder / ITEMS).exists():
        items = assigned(data, count, seed, read_patients(patients) if patients else {})
        folder.mkdir(parents=True, exist_ok=True)
        settings.write(folder)
        write_items(items, folder / ITEMS)
    if Settings.read(folder) != settings:
        raise ValueError(f"{folder} was made from other data, patients or another seed: give another --runs")
    return Folds(folder, data, count, read_items(folder / ITEMS))


def _digests(data: Path, patients: Path | None) -> dict[str, str]:
    tables = {name: data / name for name in (*_KEYS, SPLITS_FILE) if (data / name).is_file()}
    found = {name: sha256_of(path) for name, path in tables.items()}
    found |= {name: str(value) for name, value in own_key(data).items()}
    return found | ({"patients": sha256_of(patients)} if patients else {})


def _write_view(data: Path, items: Sequence[Item], fold: int, view: Path) -> None:
    splits: dict[str, dict[str, str]] = {}
    for item in items:
        splits.setdefault(item.table, {})[item.name] = HELD_OUT_SPLIT if item.fold == fold else "train"
    for path in _own_files(data) if is_own(data) else _published_files(data, splits):
        link = view / path.relative_to(data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    for table, chosen in splits.items():
        if table == SPLITS_FILE:
            samples, groups = own_data(data).described, {item.name: item.group for item in items}
            told = [chosen.get(sample.name, "") for sample in samples]
            write_splits(samples, told, [groups.get(sample.name, "") for sample in samples], view / table)
        else:
            _write_table(data / table, _KEYS[table], chosen, view / table)


def _write_table(table: Path, key: str, splits: Mapping[str, str], to: Path) -> None:
    """The rows of a table that have a split, with that one."""
    rows = [row | {"split": splits[row[key]]} for row in read_rows(table) if row[key] in splits]
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _own_files(folder: Path) -> Iterator[Path]:
    for path in _files(folder):
        if path != folder / SPLITS_FILE:
            yield path


def _published_files(data: Path, splits: Mapping[str, Mapping[str, str]]) -> Iterator[Path]:
    """Archives, and the volumes of cases that are not of ``test``; BraTS 2021 has no table, and always trains."""
    for layout in (SlicesTable, LggTable):
        yield from (data / name for name in layout.archives if layout.layout in splits and (data / name).exists())
    for folder, left_out in (("brats", HELD_OUT), ("brats2018", frozenset())):
        for case in sorted((data / folder).glob("*/")):
            if case.name not in left_out and (folder == "brats" or case.name in splits.get(CASES, {})):
                yield from _files(case)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in order; links to folders are followed."""
    for parent, _, names in os.walk(folder, followlinks=True):
        yield from (Path(parent, name) for name in sorted(names))
