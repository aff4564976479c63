"""A miniature of every data set, drawn here: discs of different brightness in heads of different sources."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.support.grouped import write_grouped
from tests.support.miniature import LABELS, add_image, draw, write_csv


def _write_slices(folder: Path, generator: np.random.Generator) -> None:
    rows: list[Mapping[str, object]] = []
    with (
        tarfile.open(folder / "slices_figshare.tar", "w") as outlined,
        tarfile.open(folder / "slices_other.tar", "w") as other,
    ):
        for split, count in (("train", 6), ("val", 4), ("test", 3)):
            for label in LABELS:
                for index in range(count):
                    source = "sartaj" if label == "no_tumor" else "figshare"
                    # Numbers far from those of the listed CT heads.
                    stem = f"slices/{source}_{label}_{split}{index}"
                    pixels, lesion = draw(label, generator, familiar=True)
                    add_image(other if label == "no_tumor" else outlined, f"{stem}.jpg", pixels)
                    mask = ""
                    if lesion.any():
                        mask = f"{stem}_mask.png"
                        add_image(outlined, mask, lesion.astype(np.uint8) * 255)
                    rows.append(
                        {"image": f"{stem}.jpg", "mask": mask, "label": label, "split": split, "source": source}
                        | {"sequence": "", "group": f"p{split}{index // 2}", "original_size": "96x96"}
                    )
        name = "slices/sartaj_no_tumor_0001.jpg"
        add_image(other, name, draw("no_tumor", generator, familiar=True)[0])
        common = {"mask": "", "label": "no_tumor", "source": "sartaj", "sequence": "", "group": "", "original_size": ""}
        rows += [{"image": name, "split": split} | common for split in ("train", "val")]
    write_csv(folder / "slices.csv", rows)


def _write_lgg(folder: Path, generator: np.random.Generator) -> None:
    rows: list[Mapping[str, object]] = []
    with tarfile.open(folder / "lgg.tar", "w") as archive:
        for split, patients in (("train", 3), ("val", 2), ("test", 2)):
            for patient in range(patients):
                for index in (10, 9, 2):
                    label = "no_tumor" if index == 2 else "glioma"
                    panels = [draw(label, generator)[0] for _ in range(3)]
                    lesion = draw(label, generator)[1]
                    stem = f"lgg/{split}{patient}_{index:03d}"
                    add_image(archive, f"{stem}.webp", np.concatenate(panels, axis=1))
                    add_image(archive, f"{stem}_mask.png", lesion.astype(np.uint8) * 255)
                    rows.append(
                        {"image": f"{stem}.webp", "mask": f"{stem}_mask.png", "patient": f"{split}{patient}"}
                        | {"site": "CS", "slice": index, "split": split, "tumor_pixels": int(lesion.sum())}
                    )
    write_csv(folder / "lgg.csv", rows)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with slices.csv and lgg.csv and their archives; no BraTS case."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(7)
    _write_slices(folder, generator)
    _write_lgg(folder, generator)
    return folder


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with patients, clusters and copies, for what must keep groups whole."""
    return write_grouped(tmp_path_factory.mktemp("grouped"))


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals out of fold from fifty draws: they are tested where they are made."""
    monkeypatch.setattr("training.folds.figures.RESAMPLES", 50)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's array cache and runs go, so that nothing is written into the repository."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def in_workspace(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work inside ``workspace``: the cache folder is relative to the working directory."""
    monkeypatch.chdir(workspace)
    return workspace
