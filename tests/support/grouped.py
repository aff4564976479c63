"""Published tables in miniature with patients, clusters and copies, for what must keep groups whole."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.support.layouts import head
from tests.support.miniature import LABELS, add_image, write_csv

Row = Mapping[str, object]
# Slices of each patient.
SLICES = 2
# Of each label in figshare and feltrin; the last of figshare are of no known patient.
KNOWN = 6
UNKNOWN = 3


def _row(stem: str, label: str, source: str, group: str, split: str, mask: str = "") -> Row:
    about = {"image": f"slices/{stem}.jpg", "mask": mask, "label": label, "split": split, "source": source}
    return about | {"sequence": "", "group": group, "original_size": "64x64"}


def slice_rows() -> Iterator[tuple[Row, int]]:
    """Rows of slices.csv, each with the seed of its head; two clusters share a head, so they are copies."""
    seed = 0
    for label in LABELS[:3]:
        for source in ("figshare", "feltrin"):
            for patient in range(KNOWN + 1):
                split = ("train", "val")[patient % 2] if patient < KNOWN else "test"
                for index in range(SLICES):
                    seed += 1
                    # One head of the first patient of figshare gliomas is shown by feltrin's first as well.
                    shown = 1 if (label, source, patient, index) == ("glioma", "feltrin", 0, 0) else seed
                    stem = f"{source}_{label}_{patient}{index}"
                    mask = f"slices/{stem}_mask.png" if source == "figshare" else ""
                    yield _row(stem, label, source, f"{source}-{label}-{patient}", split, mask), shown
        for index in range(UNKNOWN):
            seed += 1
            stem = f"figshare_{label}_unknown{index}"
            yield _row(stem, label, "figshare", "", "train", f"slices/{stem}_mask.png"), seed
    for index in range(8):
        seed += 1
        split = "test" if index == 7 else "train"
        yield _row(f"sartaj_no_tumor_9{index}", "no_tumor", "sartaj", f"c{index}", split), seed


def write_grouped(folder: Path, order: Sequence[int] | None = None) -> Path:
    """slices.csv, lgg.csv and brats2018/cases.csv with their images; rows in ``order`` where one is given."""
    rows = list(slice_rows())
    with tarfile.open(folder / "slices_figshare.tar", "w") as archive:
        for row, seed in rows:
            add_image(archive, str(row["image"]), head(seed))
            if row["mask"]:
                add_image(archive, str(row["mask"]), _lesion(seed))
    order = order or range(len(rows))
    write_csv(folder / "slices.csv", [rows[place][0] for place in order])
    _write_lgg(folder)
    _write_cases(folder)
    return folder


def _lesion(seed: int) -> np.ndarray:
    mask = np.zeros((64, 64), np.uint8)
    mask[20 : 30 + seed % 8, 20:36] = 255
    return mask


def _write_lgg(folder: Path) -> None:
    rows: list[Row] = []
    patients = [f"TCGA_CS_{number}" for number in range(5)] + ["TCGA_HT_7473_19970826", "TCGA_CS_test"]
    with tarfile.open(folder / "lgg.tar", "w") as archive:
        for number, patient in enumerate(patients):
            for index in (1, 2):
                seed = 5000 + 100 * number + 10 * index
                stem = f"lgg/{patient}_{index:03d}"
                panels = [head(seed + channel) for channel in range(3)]
                add_image(archive, f"{stem}.webp", np.concatenate(panels, axis=1))
                add_image(archive, f"{stem}_mask.png", _lesion(seed))
                split = "test" if patient.endswith("test") else ("train", "val")[number % 2]
                about = {"image": f"{stem}.webp", "mask": f"{stem}_mask.png", "patient": patient, "site": "CS"}
                rows.append(about | {"slice": index, "split": split, "tumor_pixels": int(_lesion(seed).sum() // 255)})
    write_csv(folder / "lgg.csv", rows)


def _write_cases(folder: Path) -> None:
    """Folders with a file each: what is in them is of no matter here."""
    rows: list[Row] = []
    for name, split in (("TCIA13_623", "train"), ("CBICA_AAA", "train"), ("CBICA_AAB", "val"), ("CBICA_AAC", "test")):
        case = folder / "brats2018" / name
        case.mkdir(parents=True)
        (case / "note.txt").write_text(name)
        rows.append({"case": name, "split": split, "grade": "HGG"})
    write_csv(folder / "brats2018" / "cases.csv", rows)
