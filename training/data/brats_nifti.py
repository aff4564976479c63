"""BraTS as published, any year: a folder a case with four sequences and ``seg``, named in the old or the new way.

Until 2021 files end in ``_t1 _t1ce _t2 _flair`` and enhancing tumour is label 4; from 2023 they end in
``-t1n -t1c -t2w -t2f`` and it is 3, while 4 is the resection cavity of treated patients, which is no tumour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from training.data.cases import Case, VolumeSet

_OLD: Final[Mapping[str, str]] = {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"}
_NEW: Final[Mapping[str, str]] = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}
_OLD_REGIONS: Final[Mapping[int, int]] = {0: 0, 1: 1, 2: 2, 3: 3, 4: 3}
_NEW_REGIONS: Final[Mapping[int, int]] = {0: 0, 1: 1, 2: 2, 3: 3, 4: 0}
# ``seg.nii.gz`` alone or after the case's name.
_LABELS = re.compile(r"(?P<stem>|.*[_-])seg\.nii(\.gz)?")
# From 2023 on the last number counts a patient's scans.
_SCAN = re.compile(r"(BraTS-[A-Za-z]+-\d{5})-\d{3}")


def _images(labels: Path, stem: str, names: Mapping[str, str]) -> dict[str, tuple[Path, int | None]] | None:
    """The file of each sequence beside a label file, or None unless all are there."""
    found: dict[str, tuple[Path, int | None]] = {}
    for sequence, ending in names.items():
        paths = (labels.with_name(f"{stem}{ending}{suffix}") for suffix in (".nii.gz", ".nii"))
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return None
        found[sequence] = (path, None)
    return found


def _label_files(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*seg.nii*"):
        match = _LABELS.fullmatch(path.name)
        # Some years carry a folder for each file, named like the file.
        if match and path.is_file():
            yield path, match["stem"]


class BratsCases(VolumeSet):
    """Cases without labels, as in the validation sets, are left out. Folders such as HGG and LGG may lie between."""

    layout = "BraTS"
    source = "brats"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a label file has its four sequences beside it."""
        return any(
            _images(path, stem, names) is not None for path, stem in _label_files(folder) for names in (_OLD, _NEW)
        )

    def find_cases(self) -> Iterator[Case]:
        """Raises ValueError where a sequence of a labelled case is missing."""
        for path, stem in _label_files(self.folder):
            yield self._case(path, stem)

    def _case(self, labels: Path, stem: str) -> Case:
        name = labels.parent.relative_to(self.folder).as_posix()
        scan = _SCAN.fullmatch(labels.parent.name)
        patient = scan[1] if scan else labels.parent.name
        for names, regions in ((_OLD, _OLD_REGIONS), (_NEW, _NEW_REGIONS)):
            images = _images(labels, stem, names)
            if images is not None:
                return Case(name, patient, images, labels, regions)
        raise ValueError(
            f"{labels}: expected four sequences beside it, {', '.join(_OLD)} or {', '.join(_NEW.values())}"
        )
