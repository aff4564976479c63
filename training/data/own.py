"""A user's own folder in place of the published sets: what ``labelled`` and ``outlined`` fall back to.

Only a folder with neither slices.csv nor lgg.csv counts as such.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from core.imaging.preparation.transforms import ANY_SEQUENCE
from training.data.cases import BratsCases, MsdBrainTumour
from training.data.figshare_mat import FigshareMat
from training.data.folder_tree import FolderTree
from training.data.kaggle_3m import Kaggle3m
from training.data.samples import SPLITS_FILE, DataSet, Sample

# The most particular first: a kaggle_3m tree is a folder tree as well.
OWN_LAYOUTS: Final[tuple[type[DataSet], ...]] = (MsdBrainTumour, BratsCases, Kaggle3m, FigshareMat, FolderTree)


def own_data_set(folder: Path) -> DataSet:
    """A user's folder in whatever layout it is. Raises ValueError where it is in none."""
    for layout in OWN_LAYOUTS:
        if layout.recognises(folder):
            return layout(folder)
    known = ", ".join(layout.layout for layout in OWN_LAYOUTS)
    raise ValueError(f"{folder} is in no known layout: slices.csv, lgg.csv, {known}")


def is_own(data: Path) -> bool:
    """Whether the folder has none of the published tables."""
    return not any((data / table).is_file() for table in ("slices.csv", "lgg.csv"))


@lru_cache(maxsize=4)
def _described(folder: Path, splits_written_ns: int) -> DataSet:  # noqa: ARG001  (a new table, a new description)
    return own_data_set(folder)


def own_data(data: Path) -> DataSet:
    """The folder's data set, described once as long as its splits.csv stays. Raises ValueError for no known layout."""
    table = data / SPLITS_FILE
    return _described(data.resolve(), table.stat().st_mtime_ns if table.exists() else 0)


def own_samples(data: Path, split: str) -> tuple[Sample, ...]:
    """The samples of one split. Raises ValueError where it has none: a user's data must be split first."""
    samples = own_data(data).samples
    chosen = tuple(sample for sample in samples if sample.split == split)
    if not chosen:
        known = ", ".join(sorted({sample.split for sample in samples} - {""})) or "none"
        raise ValueError(f"{data} has no split {split!r} (known: {known}): run `python -m training split {data}` first")
    return chosen


def labels_in(data: Path, usual: tuple[str, ...]) -> tuple[str, ...]:
    """``usual``; of a user's own folder the labels that it has, the usual ones first, in their order."""
    if not is_own(data):
        return usual
    found = {sample.label for sample in own_data(data).samples} - {""}
    return (*(label for label in usual if label in found), *sorted(found - set(usual)))


def own_outlined(data: Path, split: str) -> tuple[Sample, ...]:
    """The samples of one split that a segmenter can learn from: a mask, and sequences that are known."""
    samples = own_samples(data, split)
    return tuple(sample for sample in samples if sample.mask and ANY_SEQUENCE not in sample.sequences)


def own_key(data: Path) -> dict[str, Any]:
    """What tells one folder's cached arrays from another's; empty for the published sets, whose names are unique."""
    if not is_own(data):
        return {}
    data_set = own_data(data)
    paths = {data_set.folder / name for sample in data_set.samples for name in (sample.image, sample.mask)}
    newest = max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)
    return {"folder": str(data_set.folder), "newest": newest}
