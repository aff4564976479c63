"""Slices as the input check sees them, and its limits from validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import ClassificationPreprocessing, InputCheck
from core.imaging.preparation.input_check import Finding, check_pixels, largest_distance, total_strangeness
from core.imaging.preparation.transforms import Placement, find_head, prepare_classification
from core.imaging.slices import Slice
from training.data.slices import SliceRow, ct_heads, open_slices, slice_rows

FloatArray = npt.NDArray[np.float32]

# A limit that accepts 99 % of one half of the validation groups may accept only 96.5 % of the other half (the 5th
# percentile of random halves; 97.6 % for this value): new patients need the room.
ACCEPTANCE: Final = 0.995


@dataclass(frozen=True)
class CheckedInputs:
    """Prepared slices: ``images`` float32 (n, 1, s, s), where they sit, what their pixels show, and their rows."""

    images: FloatArray
    placements: tuple[Placement, ...]
    findings: tuple[tuple[Finding, ...], ...]
    rows: tuple[SliceRow, ...]

    @property
    def pixels(self) -> FloatArray:
        """Total strangeness of the pixels (n,)."""
        return np.array([total_strangeness(findings) for findings in self.findings], np.float32)

    def labels(self, names: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """(n,) into ``names``."""
        return np.array([names.index(row.label) for row in self.rows], np.int64)

    @property
    def groups(self) -> tuple[str, ...]:
        """What the bootstrap draws."""
        return tuple(row.group for row in self.rows)


def prepare(image: Slice, spec: ClassificationPreprocessing) -> tuple[FloatArray, Placement, tuple[Finding, ...]]:
    """Input (1, s, s), placement and findings, as the service has them."""
    head = find_head(image.pixels, margin=0.0)
    tensor, placement = prepare_classification(image.pixels, spec, head=head)
    return tensor, placement, check_pixels(image, head)


def evenly(count: int, limit: int | None) -> npt.NDArray[np.intp]:
    """At most ``limit`` of ``count`` places, evenly spread."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, limit).round().astype(np.intp))


def checked_slices(
    data: Path, split: str, spec: ClassificationPreprocessing, labels: tuple[str, ...], limit: int | None = None
) -> CheckedInputs:
    """Slices of a split, at most ``limit`` of them. CT heads are left out: the check is there to refuse them."""
    rows = [row for row in slice_rows(data, split, labels) if row.image not in ct_heads()]
    rows = [rows[place] for place in evenly(len(rows), limit)]
    with open_slices(data) as archive:
        prepared = [prepare(Slice(archive.grey(row.image), "image/jpeg"), spec) for row in rows]
    return CheckedInputs(
        np.stack([tensor for tensor, _, _ in prepared]),
        tuple(placement for _, placement, _ in prepared),
        tuple(findings for _, _, findings in prepared),
        tuple(rows),
    )


def fit_input_check(distances: FloatArray, pixels: FloatArray) -> InputCheck:
    """The limit that accepts the share ``ACCEPTANCE`` of validation slices with ``distances`` (n,) and ``pixels`` (n,).

    No limit of the energy: beside the distance it finds no more strange pictures (``training trust`` measures both),
    and it refuses slices of scanners that the model does not know.
    """
    return InputCheck(max_distance=largest_distance(distances, pixels, ACCEPTANCE))
