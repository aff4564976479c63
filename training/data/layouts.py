"""Which layout a user's folder is in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from training.data.brats_nifti import BratsCases
from training.data.figshare_mat import FigshareMat
from training.data.folder_tree import FolderTree
from training.data.kaggle_3m import Kaggle3m
from training.data.msd import MsdBrainTumour
from training.data.samples import DataSet

# The most particular first: a kaggle_3m tree is a folder tree as well.
OWN_LAYOUTS: Final[tuple[type[DataSet], ...]] = (MsdBrainTumour, BratsCases, Kaggle3m, FigshareMat, FolderTree)


def own_data_set(folder: Path) -> DataSet:
    """A user's folder in whatever layout it is. Raises ValueError where it is in none."""
    for layout in OWN_LAYOUTS:
        if layout.recognises(folder):
            return layout(folder)
    known = ", ".join(layout.layout for layout in OWN_LAYOUTS)
    raise ValueError(f"{folder} is in no known layout: slices.csv, lgg.csv, {known}")
