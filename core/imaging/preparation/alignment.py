"""Sequences of one patient on one grid: checked, and resampled where their grids differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.contracts.sequences import REFERENCE_ORDER
from core.errors import FieldError, InconsistentGeometry, InvalidRequest, MissingSequence
from core.imaging.preparation.resample import resample_to
from core.imaging.volume import Grid, Volume

GRID_TOLERANCE_MM: Final = 0.1
"""Grids of one shape whose corners lie closer than this are one grid."""

# Two volumes of one head overlap at least by this share of the smaller one.
MIN_OVERLAP: Final = 0.5
_LATTICE: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Volumes by sequence on one grid, that of ``reference``; ``warnings`` say which had to be resampled."""

    volumes: Mapping[str, Volume]
    reference: str
    warnings: tuple[str, ...]

    @property
    def grid(self) -> Grid:
        """The common grid, which results are given on."""
        return self.volumes[self.reference].grid


def displacement_mm(one: Grid, other: Grid) -> float:
    """The largest distance in mm between voxels of the same index; infinite where the shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.linalg.norm(one.corners_mm() - other.corners_mm(), axis=1).max())


def overlap(one: Grid, other: Grid) -> float:
    """Share of the smaller volume that lies inside the other, in [0, 1], judged on a lattice of points."""
    return max(_share_inside(one, other), _share_inside(other, one))


def _share_inside(points_of: Grid, grid: Grid) -> float:
    lattice = (np.asarray(list(np.ndindex(_LATTICE, _LATTICE, _LATTICE))) + 0.5) / _LATTICE
    points = points_of.to_mm(lattice * points_of.shape - 0.5)
    inverse = np.linalg.inv(grid.affine)
    indices = points @ inverse[:3, :3].T + inverse[:3, 3]
    return float(((indices >= -0.5) & (indices <= np.asarray(grid.shape) - 0.5)).all(axis=1).mean())


def align(volumes: Mapping[str, Volume], reference: str | None = None) -> Aligned:
    """All volumes (float32, by sequence) on the grid of ``reference``.

    Raises ``MissingSequence`` for none, ``InvalidRequest`` for a reference that was not given, and
    ``InconsistentGeometry`` where two volumes hardly overlap: they cannot show one head.
    """
    if not volumes:
        raise MissingSequence(f"at least one of {', '.join(REFERENCE_ORDER)} is needed")
    if reference is not None and reference not in volumes:
        raise InvalidRequest("the reference must be one of the sequences given")
    chosen = reference or next((name for name in REFERENCE_ORDER if name in volumes), next(iter(volumes)))
    grid = volumes[chosen].grid
    aligned, moved = {}, []
    for name, volume in volumes.items():
        if displacement_mm(volume.grid, grid) <= GRID_TOLERANCE_MM:
            aligned[name] = Volume(volume.voxels, grid.affine)
            continue
        _check_overlap(name, volume.grid, chosen, grid)
        aligned[name] = resample_to(volume, grid)
        moved.append(name)
    warnings = tuple(f"{name} lies on another grid than {chosen} and was resampled to it." for name in moved)
    return Aligned(aligned, chosen, warnings)


def _check_overlap(name: str, grid: Grid, reference: str, reference_grid: Grid) -> None:
    share = overlap(grid, reference_grid)
    if share < MIN_OVERLAP:
        detail = f"{name} and {reference} overlap by {share:.0%} only: they do not show one field of view."
        raise InconsistentGeometry(detail, errors=[FieldError(f"part/{name}", detail)])
