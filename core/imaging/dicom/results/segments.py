"""The segments that a map of labels has, and which regions they are: what segmentation and report both speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from core.contracts.regions import NAMES, REGIONS
from core.imaging.volume import LabelArray

OWN_SCHEME: Final = "99FALX"
"""Codes that no standard has."""

CATEGORY: Final = codes.SCT.MorphologicallyAbnormalStructure
SITE: Final = codes.SCT.Brain
REGION_CODES: Final[Mapping[str, Code]] = {
    "whole_tumor": codes.SCT.Neoplasm,
    "tumor_core": Code("tumor-core", OWN_SCHEME, "Tumor core"),
    "necrotic_core": codes.SCT.Necrosis,
    "oedema": codes.SCT.Edema,
    "enhancing": codes.NCIt.EnhancingLesion,
}
"""What is found where, by region."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Voxels of one ``label``. They are of ``region``, and all of it unless ``partly``: the rest has other labels."""

    number: int
    label: int
    region: str
    partly: bool

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{NAMES[self.region]}, outside the other segments" if self.partly else NAMES[self.region]

    @property
    def tracked(self) -> str:
        """What its tracking UID is made of: that of the region where it is the whole of it."""
        return f"part of {self.region}" if self.partly else self.region


def segments_of(labels: LabelArray, meaning: Mapping[int, str]) -> tuple[Segment, ...]:
    """The segments of ``labels`` (i, j, k), numbered from 1 in the order of the labels; ``meaning`` is region by label.

    Empty where no voxel is labelled.
    """
    present = [int(label) for label in np.unique(labels) if label]
    return tuple(
        Segment(number, label, meaning[label], _holds_another(meaning[label], label, present, meaning))
        for number, label in enumerate(present, 1)
    )


def _holds_another(region: str, label: int, present: list[int], meaning: Mapping[int, str]) -> bool:
    inner = (REGIONS[meaning[other]] for other in present if other != label)
    return any(set(voxels) <= set(REGIONS[region]) for voxels in inner)
