"""Which regions of a segmented volume may be believed, and what becomes of the others.

A region is doubted where its mean Dice on validation is low or was not measured, where the network was not sure of it
in this case, and where one of the two regions that it lies between is doubted. What is doubted is withheld: its numbers
are null with the reason, pictures leave it out, and its voxels carry the label of the smallest region around them that
is believed. A caller who asks for experimental regions is shown them all the same, with the reasons beside them
(docs/adr/0035-numbers-that-may-be-believed.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.contracts.manifest import Metric
from core.contracts.regions import BETWEEN, ENCLOSING, NAMES, OWN_LABEL, REGIONS
from core.imaging.volume import LabelArray

# Below them a region is doubted.
LEAST_DICE: Final = 0.5
LEAST_CERTAINTY: Final = 0.5
_BACKGROUND: Final = 0

Doubts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Belief:
    """Reasons by region: of those that are ``withheld``, and of those that are shown as ``experimental``."""

    withheld: Doubts
    experimental: Doubts

    @classmethod
    def of(cls, doubts: Doubts, *, experimental: bool) -> Belief:
        """What a caller is shown, who asked for experimental regions or did not."""
        return cls({}, doubts) if experimental else cls(doubts, {})

    @property
    def label_names(self) -> dict[int, str]:
        """``label_regions`` as people read them."""
        return {label: NAMES[region] for label, region in self.label_regions.items()}

    @property
    def label_regions(self) -> dict[int, str]:
        """By label what a voxel that carries it belongs to: the smallest region around it that is shown."""
        regions = {OWN_LABEL[region]: region for label in ENCLOSING if (region := self._smallest(label)) is not None}
        return dict(sorted(regions.items()))

    def carried(self, labels: LabelArray) -> LabelArray:
        """Labels (i, j, k) of which each voxel carries the smallest region around it that is shown, or none."""
        if not self.withheld:
            return labels
        table = np.array([_BACKGROUND, *(self._carried(label) for label in sorted(ENCLOSING))], np.uint8)
        carried: LabelArray = table[labels]
        return carried

    def _carried(self, label: int) -> int:
        region = self._smallest(label)
        return _BACKGROUND if region is None else OWN_LABEL[region]

    def _smallest(self, label: int) -> str | None:
        return next((region for region in ENCLOSING[label] if region not in self.withheld), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody must know who reads the label map or a picture alone."""
        if self.experimental:
            return (
                f"Experimental, shown because it was asked for: {_named(self.experimental)}. Do not rely on them; "
                "experimental in the report gives the reasons.",
            )
        if not self.withheld:
            return ()
        names = [f"{label} is {name}" for label, name in self.label_names.items()]
        table = f"In the label map {', '.join(names)}." if names else _EMPTY_MAP
        return (f"Withheld: {_named(self.withheld)}; withheld in the report gives the reasons. {table}",)


_EMPTY_MAP: Final = "The label map is empty because nothing in it could be relied on, not because there is no tumour."


def _named(doubts: Doubts) -> str:
    return ", ".join(NAMES[region] for region in doubts)


def doubts_of(validated: Mapping[str, Metric], certainty: Mapping[str, float]) -> Doubts:
    """The reason why each doubted region is; ``certainty`` in [0, 1] is of the regions that the network draws."""
    own = {region: _own_doubt(validated.get(region), certainty.get(region)) for region in REGIONS}
    found = {}
    for region, doubt in own.items():
        doubted = [NAMES[side] for side in BETWEEN.get(region, ()) if own[side]]
        if doubt or doubted:
            found[region] = doubt or f"It lies between regions that cannot be relied on: {', '.join(doubted)}."
    return found


def _own_doubt(validated: Metric | None, certainty: float | None) -> str | None:
    if validated is None:
        return "How well this model finds it was not validated."
    if validated.value < LEAST_DICE:
        return (
            f"On {validated.count} validation {validated.count_unit} of {validated.data_set} this model reached a mean "
            f"Dice of {validated.value:.2f}; below {LEAST_DICE:.2f} a region is not shown."
        )
    if certainty is not None and certainty < LEAST_CERTAINTY:
        return (
            f"The model is not sure of it in this case: of the volume that may belong to it, {certainty:.0%} surely "
            f"does; below {LEAST_CERTAINTY:.0%} a region is not shown."
        )
    return None
