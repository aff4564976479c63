"""What a report tells: by region its numbers or why there are none, and what the input check said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.contracts.regions import REGIONS
from core.contracts.report import RegionMeasurement


@dataclass(frozen=True, slots=True)
class Findings:
    """``measured`` are the regions that are shown and hold a voxel.

    ``withheld`` are those that are not shown, ``experimental`` those that are shown although they cannot be relied on,
    each with its reason. ``meaning`` is the region that each label of the map stands for, ``remarks`` what the checks
    of the input, and the model's caveats, have to say.
    """

    measured: Mapping[str, RegionMeasurement]
    withheld: Mapping[str, str]
    experimental: Mapping[str, str]
    meaning: Mapping[int, str]
    remarks: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The regions that are shown, in the order of the report, whether a voxel is of them or not."""
        return tuple(region for region in REGIONS if region not in self.withheld)
