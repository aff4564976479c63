"""How much of the head a volume shows and how finely: what decides between series of one sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from core.imaging.dicom.selection.acquisition import Acquisition
from core.imaging.dicom.selection.table import Table
from core.imaging.dicom.series import Stack

PLANES: Final = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a volume lies. ``low`` and ``high`` are corners of the box around it in mm, in the patient's axes.

    ``covered_mm`` is how far its slices reach, ``field_mm`` the shorter side of a slice, ``pixel_mm`` and ``step_mm``
    the distances within a slice and between slices.
    """

    plane: str
    covered_mm: float
    field_mm: float
    pixel_mm: float
    step_mm: float
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    frame_of_reference: str = ""

    @classmethod
    def of(cls, stack: Stack) -> Extent:
        """That of a stack of slices."""
        first = stack.planes[0]
        columns, rows, slices = (np.asarray(stack.affine[:3, axis]) for axis in range(3))
        height, width = first.size
        pixel = max(first.spacing_mm)
        step = float(np.linalg.norm(slices))
        ends = np.asarray([[0, 0, 0], [width - 1, height - 1, len(stack.planes) - 1]], float)
        corners = np.asarray([[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        points = corners @ np.asarray([columns, rows, slices]) + stack.affine[:3, 3]
        return cls(
            plane=PLANES[int(np.argmax(np.abs(first.normal)))],
            covered_mm=step * len(stack.planes),
            field_mm=min(height * first.spacing_mm[0], width * first.spacing_mm[1]),
            pixel_mm=pixel,
            step_mm=step,
            low=tuple(points.min(axis=0).tolist()),
            high=tuple(points.max(axis=0).tolist()),
            frame_of_reference=first.frame_of_reference,
        )

    def meets(self, other: Extent) -> bool:
        """Whether the middle of one of the two lies in the other."""
        return self._holds_middle_of(other) or other._holds_middle_of(self)

    def _holds_middle_of(self, other: Extent) -> bool:
        middles = ((low + high) / 2 for low, high in zip(other.low, other.high, strict=True))
        return all(low <= middle <= high for low, middle, high in zip(self.low, middles, self.high, strict=True))


def merits(extent: Extent | None, acquisition: Acquisition, table: Table) -> dict[str, float]:
    """Points for what a volume shows, by their names in the table (``numbers``); only what is gained or lost."""
    numbers = table.numbers
    found = {"original": numbers["original"] if acquisition.original else 0.0}
    if extent is not None:
        thin = extent.step_mm <= numbers["thin_mm"]
        found["three-dimensional"] = numbers["three-dimensional"] if thin else 0.0
        found["coverage"] = numbers["coverage"] * min(1.0, extent.covered_mm / numbers["whole_mm"])
        found["resolution"] = numbers["resolution"] * max(0.0, 1.0 - extent.pixel_mm / numbers["coarse_mm"])
        found["axial"] = numbers["axial"] if extent.plane == "axial" else 0.0
        small = extent.covered_mm < numbers["part_mm"] or extent.field_mm < numbers["part_field_mm"]
        found["part-of-the-head"] = numbers["part-of-the-head"] if small else 0.0
    return {name: points for name, points in found.items() if points}
