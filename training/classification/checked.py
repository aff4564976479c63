"""Slices as the input check sees them, and its limits from validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import ClassificationPreprocessing, InputCheck
from core.imaging.preparation.input_check import Finding, check_slice, largest_distance, total_strangeness
from core.imaging.preparation.transforms import Framed, Placement, prepare_classification
from core.imaging.slices import Slice
from training.data.archives import FloatArray
from training.data.labelled import ct_heads, read_greys, slice_rows
from training.evaluation.inputs import LabelledInputs

# A limit that accepts 99 % of one half of the validation groups may accept only 96.5 % of the other half (the 5th
# percentile of random halves; 97.6 % for this value): new patients need the room.
ACCEPTANCE: Final = 0.995


@dataclass(frozen=True)
class CheckedInputs(LabelledInputs):
    """Labelled slices, where they sit, and what their pixels show."""

    placements: tuple[Placement, ...]
    findings: tuple[tuple[Finding, ...], ...]

    @property
    def pixels(self) -> FloatArray:
        """Total strangeness of the pixels (n,)."""
        return np.array([total_strangeness(findings) for findings in self.findings], np.float32)


def prepare(image: Slice, spec: ClassificationPreprocessing) -> tuple[FloatArray, Placement, tuple[Finding, ...]]:
    """Input (1, s, s), placement and findings, as the service has them."""
    framed = Framed.of(image.pixels)
    tensor, placement = prepare_classification(image.pixels, spec, framed=framed)
    return tensor, placement, check_slice(image, framed)


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
    prepared = [prepare(Slice(grey, "image/jpeg"), spec) for grey in read_greys(data, rows)]
    tensors, placements, findings = zip(*prepared, strict=True)
    truth = np.array([labels.index(row.label) for row in rows], np.int64)
    return CheckedInputs(truth, tuple(rows), np.stack(tensors), placements, findings)


def fit_input_check(distances: FloatArray, pixels: FloatArray) -> InputCheck:
    """The limit that accepts the share ``ACCEPTANCE`` of validation slices with ``distances`` (n,) and ``pixels`` (n,).

    No limit of the energy: beside the distance it finds no more strange pictures (``training trust`` measures both),
    and it refuses slices of scanners that the model does not know.
    """
    return InputCheck(max_distance=largest_distance(distances, pixels, ACCEPTANCE))
