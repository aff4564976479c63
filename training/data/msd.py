"""Task01_BrainTumour of the Medical Segmentation Decathlon: ``dataset.json``, 4D images, labels beside them.

Its labels are 1 oedema, 2 non-enhancing, 3 enhancing. The cases are BraTS 2016 and 2017 renamed, so their patients
cannot be matched with those of other BraTS editions by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from training.data.cases import Case, VolumeSet

_CHANNELS: Final[Mapping[str, str]] = {"flair": "flair", "t1w": "t1", "t1gd": "t1ce", "t2w": "t2"}
_REGIONS: Final[Mapping[int, int]] = {0: 0, 1: 2, 2: 1, 3: 3}


def _description(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return content


class MsdBrainTumour(VolumeSet):
    """The labelled part; ``imagesTs`` has no labels and is left out."""

    layout = "MSD Task01"
    source = "msd"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether dataset.json lists training cases."""
        return (folder / "dataset.json").is_file() and bool(_description(folder).get("training"))

    def find_cases(self) -> Iterator[Case]:
        """Channels by the names that dataset.json gives them. Raises ValueError for one that is no sequence of ours."""
        about = _description(self.folder)
        names: Mapping[str, str] = about["modality"]
        unknown = sorted(name for name in names.values() if name.lower() not in _CHANNELS)
        if unknown:
            raise ValueError(f"{self.folder / 'dataset.json'}: unknown modality {unknown[0]!r}")
        channels = {_CHANNELS[name.lower()]: int(index) for index, name in names.items()}
        for entry in about["training"]:
            image, labels = self.folder / entry["image"], self.folder / entry["label"]
            name = image.name.removesuffix(".gz").removesuffix(".nii")
            yield Case(name, name, {key: (image, index) for key, index in channels.items()}, labels, _REGIONS)
