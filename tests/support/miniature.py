"""Discs of different brightness in heads, and the files that data sets keep them in."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]

LABELS = ("glioma", "meningioma", "pituitary", "no_tumor")
# Where the lesion of each label sits (row, column) and how bright it is: learnable, and no two alike.
LESIONS: Mapping[str, tuple[float, float, float]] = {
    "glioma": (0.35, 0.35, 0.95),
    "meningioma": (0.35, 0.65, 0.95),
    "pituitary": (0.6, 0.5, 0.95),
}
# The sample without a tumour. What makes samples is of the services' environment.
HEAD = Path(__file__).parents[2] / "gateway" / "page" / "samples" / "no-tumour.png"
# Share of single pixels inside a head that are white: what the rest is measured against, too small to be outlined.
WHITE = 0.03


def even_head(side: int) -> tuple[Float64Array, BoolArray]:
    """A head (side, side) that the input check knows, its quadrants equally bright, and the places inside it.

    It is the sample without a tumour at half its brightness.
    """
    stored = np.asarray(cv2.imread(str(HEAD), cv2.IMREAD_GRAYSCALE), np.uint8)
    head = cv2.resize(stored, (side, side), interpolation=cv2.INTER_AREA) / 255
    grey, inside = head * 0.5, np.asarray(cv2.blur(head, (9, 9)) > 0.06)
    rows, columns = np.mgrid[:side, :side] >= side / 2
    for row in (False, True):
        for column in (False, True):
            part = inside & (rows == row) & (columns == column)
            grey[part] += 0.22 - grey[part].mean()
    return grey, inside


def disc(side: int, row: float, column: float, radius: float) -> BoolArray:
    """A filled disc, all in shares of the side."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def draw(label: str, generator: np.random.Generator, side: int = 96) -> tuple[UInt8Array, BoolArray]:
    """A noisy head with its label's lesion, and the lesion's mask."""
    grey, inside = even_head(side)
    grey += 0.03 * generator.standard_normal((side, side)) * inside
    grey[inside & (generator.random((side, side)) < WHITE)] = 1.0
    lesion = np.zeros((side, side), bool)
    if label in LESIONS:
        row, column, brightness = LESIONS[label]
        lesion = disc(side, row, column, 0.09)
        grey = np.where(lesion, brightness, grey)
    return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8), lesion


def add_image(archive: tarfile.TarFile, name: str, pixels: UInt8Array) -> None:
    """Store pixels losslessly under a name."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    member = tarfile.TarInfo(name)
    member.size = stream.tell()
    stream.seek(0)
    archive.addfile(member, stream)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Rows of one shape as CSV."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
