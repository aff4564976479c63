"""A folder a class, as ImageFolder and most Kaggle sets have it: ``[split/]class/[patient/]image``.

``Training`` and ``Testing`` and their kin are read as splits. A folder between class and image is the patient.
``NAME_mask.png`` beside ``NAME.jpg`` is its tumour mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from core.errors import RequestError
from core.imaging.limits import ImageLimits
from core.imaging.preparation.transforms import ANY_SEQUENCE
from core.imaging.raster.decoder import decode_raster
from training.data.archives import FloatArray
from training.data.samples import DataSet, Pixels, Sample

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
SPLIT_FOLDERS: Final[Mapping[str, str]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# What the public sets call a head without tumour.
HEALTHY: Final = frozenset({"no_tumor", "no_tumour", "notumor", "notumour", "no", "healthy", "normal"})
_MASK = "_mask"
_LIMITS = ImageLimits()


def label_name(folder: str) -> str:
    """A folder's name as a label: ``Glioma Tumor`` and ``glioma_tumor`` are ``glioma``, ``notumor`` is ``no_tumor``."""
    name = folder.strip().lower().replace(" ", "_").replace("-", "_")
    if name in HEALTHY:
        return "no_tumor"
    return name.removesuffix("_tumor").removesuffix("_tumour")


def read_grey(path: Path) -> FloatArray:
    """An image file as the services decode it: grey float32 (h, w) in [0, 1]. Raises ValueError where it is broken."""
    try:
        return decode_raster(path.read_bytes(), _LIMITS).pixels
    except RequestError as error:
        raise ValueError(f"{path}: {error}") from error


def _images(folder: Path) -> Iterator[tuple[str, ...]]:
    """Every image below the folder as the parts of its relative path; hidden files are none."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts):
            yield parts


def _split_and_below(parts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The split and the parts below its folder; all parts where no folder is named like a split."""
    for index, part in enumerate(parts[:-1]):
        if part.lower() in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[part.lower()], parts[index + 1 :]
    return "", parts


class FolderTree(DataSet):
    """Single grey slices whose sequence is not told."""

    layout = "folder tree"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether an image lies in a class folder."""
        return any(len(_split_and_below(parts)[1]) > 1 for parts in _images(folder))

    def describe(self) -> Iterator[Sample]:
        """Images that lie in no class folder are left out."""
        found = {"/".join(parts): parts for parts in _images(self.folder)}
        masks = {Path(name).with_suffix("").as_posix(): name for name in found if Path(name).stem.endswith(_MASK)}
        source = self.folder.resolve().name
        for name, parts in found.items():
            split, below = _split_and_below(parts)
            stem = Path(name).with_suffix("").as_posix()
            if len(below) > 1 and stem not in masks:
                yield Sample(
                    image=name,
                    sequences=(ANY_SEQUENCE,),
                    source=source,
                    label=label_name(below[0]),
                    mask=masks.get(stem + _MASK, ""),
                    patient="/".join(below[1:-1]),
                    split=split,
                )

    def pixels(self, samples: Iterable[Sample]) -> Iterator[Pixels]:
        """One file after the other."""
        for sample in samples:
            mask = read_grey(self.folder / sample.mask) > 0.5 if sample.mask else None
            yield Pixels({ANY_SEQUENCE: read_grey(self.folder / sample.image)}, mask)
