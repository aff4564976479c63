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
FloatArray = npt.NDArray[np.float32]

# The sample without a tumour. What makes samples is of the services' environment.
HEAD = Path(__file__).parents[2] / "gateway" / "page" / "samples" / "no-tumour.png"

LABELS = ("glioma", "meningioma", "pituitary", "no_tumor")
# Where the lesion of each label sits (row, column) and how bright it is: learnable, and no two alike.
LESIONS: Mapping[str, tuple[float, float, float]] = {
    "glioma": (0.35, 0.35, 0.95),
    "meningioma": (0.35, 0.65, 0.95),
    "pituitary": (0.6, 0.5, 0.95),
}


def disc(side: int, row: float, column: float, radius: float) -> BoolArray:
    """A filled disc, all in shares of the side."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def familiar_head(side: int) -> FloatArray:
    """Greys (side, side) in [0, 1] of a head that the input check knows: the sample without a tumour."""
    stored = np.asarray(cv2.imread(str(HEAD), cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(255)
    return np.asarray(cv2.resize(stored, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def draw(
    label: str, generator: np.random.Generator, side: int = 96, *, familiar: bool = False
) -> tuple[UInt8Array, BoolArray]:
    """A noisy head with its label's lesion, and the lesion's mask. The head is a disc, or one that is ``familiar``."""
    head = familiar_head(side) if familiar else 0.45 * disc(side, 0.5, 0.5, 0.42)
    grey = np.where(head > 0.08, head + 0.05 * generator.standard_normal((side, side)), 0.0)
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
