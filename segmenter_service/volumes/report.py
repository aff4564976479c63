"""What a labelled volume measures: millilitres, extent, place and diameters by region, and areas by slice."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from core.contracts.regions import REGIONS
from core.imaging.preparation.geometry import Reorientation
from core.imaging.volume import Affine, Bounds, Grid, bounds_of

LabelArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]

_SUPERIOR: Final = 2
# Distances of this many points to all others are taken at a time.
_PIECE: Final = 128
_ROUNDING_MM: Final = 1e-6


@dataclass(frozen=True, slots=True)
class LargestSection:
    """The axial slice in which a region has the largest area.

    ``slice`` is its index along the input's axial axis; ``longest_mm`` the region's longest diameter in it and
    ``perpendicular_mm`` its full extent at right angles to that diameter.
    """

    slice: int
    area_mm2: float
    longest_mm: float
    perpendicular_mm: float


@dataclass(frozen=True, slots=True)
class RegionReport:
    """One region. Voxel indices are the input's own, zero-based, ``stop`` excluded; mm are RAS+ as in its affine.

    ``longest_diameter_mm`` runs in any direction, from face to face of voxels: one voxel measures its longest side.
    """

    voxels: int
    volume_ml: float
    bounding_box: dict[str, tuple[int, int, int]]
    centroid_mm: tuple[float, float, float]
    longest_diameter_mm: float
    largest_section: LargestSection


@dataclass(frozen=True, slots=True)
class SliceReport:
    """One axial slice that shows tumour: its index and the area of each region that it shows, in mm2."""

    slice: int
    area_mm2: dict[str, float]


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """``regions`` that hold a voxel; ``axial_axis`` (0, 1 or 2) of the input is the one along which slices count."""

    regions: dict[str, RegionReport]
    axial_axis: int
    slices: tuple[SliceReport, ...]

    def as_json(self, withheld: Collection[str] = ()) -> dict[str, Any]:
        """Plain dicts, lists and numbers.

        None stands for every region of ``withheld``, whether a voxel is of it or not, and for the slices that show
        tumour where that is the whole of it. Slices tell no area of such a region.
        """
        told = asdict(self)
        measured: dict[str, Any] = told["regions"]
        told["regions"] = {
            name: None if name in withheld else measured[name]
            for name in REGIONS
            if name in withheld or name in measured
        }
        for one in told["slices"]:
            one["area_mm2"] = {name: area for name, area in one["area_mm2"].items() if name not in withheld}
        if "whole_tumor" in withheld:
            told["slices"] = None
        return told


def measure(labels: LabelArray, affine: Affine) -> VolumeReport:
    """Measure labels (i, j, k) on their own grid; ``affine`` (4, 4) leads to mm, tilted or not."""
    axial = Reorientation.of(affine).axes[_SUPERIOR]
    tumor = bounds_of(labels > 0)
    if tumor is None:
        return VolumeReport({}, axial, ())
    # A tumour fills little of a head: everything is measured in its box.
    block = labels[tumor.slices]
    masks = {name: np.isin(block, values) for name, values in REGIONS.items()}
    grid = Grid(tumor.shape, affine @ _moved_to(tumor.start))
    areas = {name: _areas_mm2(mask, grid, axial) for name, mask in masks.items()}
    first = tumor.start[axial]
    return VolumeReport(
        regions={name: _measure(mask, tumor, grid, axial) for name, mask in masks.items() if mask.any()},
        axial_axis=axial,
        slices=tuple(
            SliceReport(first + at, {name: round(float(area[at]), 2) for name, area in areas.items() if area[at] > 0})
            for at in np.flatnonzero(areas["whole_tumor"]).tolist()
        ),
    )


def _moved_to(start: tuple[int, int, int]) -> Affine:
    moved = np.eye(4)
    moved[:3, 3] = start
    return moved


def _areas_mm2(mask: BoolArray, grid: Grid, axis: int) -> Points:
    """Area (n,) in mm2 that a mask covers in every slice along ``axis``."""
    first, second = (grid.affine[:3, other] for other in range(3) if other != axis)
    pixel_mm2 = np.linalg.norm(np.cross(first, second))
    others = tuple(other for other in range(3) if other != axis)
    counts: Points = np.count_nonzero(mask, axis=others) * pixel_mm2
    return counts


def _measure(mask: BoolArray, tumor: Bounds, grid: Grid, axial: int) -> RegionReport:
    """One region that holds a voxel; ``mask`` and ``grid`` are those of the block ``tumor`` of the input."""
    indices = np.argwhere(mask)
    areas = _areas_mm2(mask, grid, axial)
    largest = int(np.argmax(areas))
    section = _hull_mm(indices[indices[:, axial] == largest], grid, [axis for axis in range(3) if axis != axial])
    longest, perpendicular = _diameters(section)
    x, y, z = grid.to_mm(indices.mean(axis=0))
    return RegionReport(
        voxels=len(indices),
        volume_ml=round(len(indices) * grid.voxel_mm3 / 1000, 4),
        bounding_box={
            "start": _in_input(indices.min(axis=0), tumor),
            "stop": _in_input(indices.max(axis=0) + 1, tumor),
        },
        centroid_mm=(round(float(x), 2), round(float(y), 2), round(float(z), 2)),
        longest_diameter_mm=round(_longest_mm(_hull_mm(indices, grid, [0, 1, 2])), 2),
        largest_section=LargestSection(
            tumor.start[axial] + largest, round(float(areas[largest]), 2), longest, perpendicular
        ),
    )


def _in_input(indices: npt.NDArray[np.int64], tumor: Bounds) -> tuple[int, int, int]:
    i, j, k = (int(index) + start for index, start in zip(indices, tumor.start, strict=True))
    return i, j, k


def _hull_mm(indices: npt.NDArray[np.int64], grid: Grid, axes: list[int]) -> Points:
    """Corners (n, 3) in mm of the convex hull of voxels (m, 3), taken along ``axes`` only (three, or two of a slice).

    Voxels are stood for by the centres of their faces, so that a row of ten measures ten and not nine. In three
    dimensions some points are among them that are corners of a section and not of the whole.
    """
    outermost = _row_ends(indices, axes)
    # In halves of a voxel, so that all are whole numbers.
    steps = np.eye(3, dtype=np.int64)[axes]
    faces = np.concatenate([2 * outermost + step for step in (*steps, *-steps)])
    for normal in range(3) if len(axes) == 3 else {0, 1, 2} - set(axes):
        faces = _section_corners(faces, normal)
    points: Points = grid.to_mm(faces / 2)
    return points


def _section_corners(points: npt.NDArray[np.int64], normal: int) -> npt.NDArray[np.int64]:
    """Those points (n, 3) that are corners of their plane across ``normal``: no other is a corner of the whole."""
    points = points[np.argsort(points[:, normal], kind="stable")]
    planes = np.split(points, np.flatnonzero(np.diff(points[:, normal])) + 1)
    others = [axis for axis in range(3) if axis != normal]
    hulls = (cv2.convexHull(plane[:, others].astype(np.int32), returnPoints=False).ravel() for plane in planes)
    return np.concatenate([plane[hull] for plane, hull in zip(planes, hulls, strict=True)])


def _longest_mm(points: Points) -> float:
    """The longest distance between two of points (n, 3) in mm."""
    from_middle = np.linalg.norm(points - points.mean(axis=0), axis=1)
    at_least = float(np.linalg.norm(points - points[np.argmax(from_middle)], axis=1).max())
    # No diameter that long ends nearer to the middle, however far from it the other end is.
    points = points[from_middle >= at_least - from_middle.max() - _ROUNDING_MM]
    pieces = (points[at : at + _PIECE, None] - points[None] for at in range(0, len(points), _PIECE))
    return max(float(np.linalg.norm(piece, axis=2).max()) for piece in pieces)


def _row_ends(indices: npt.NDArray[np.int64], axes: list[int]) -> npt.NDArray[np.int64]:
    """The first and last voxel of every row along the first of ``axes``: no other can lie on the convex hull."""
    along, *others = axes
    order = np.lexsort((indices[:, along], *(indices[:, other] for other in others)))
    rows = indices[order]
    changes = (np.diff(rows[:, others], axis=0) != 0).any(axis=1)
    firsts = np.concatenate([[True], changes])
    lasts = np.concatenate([changes, [True]])
    ends: npt.NDArray[np.int64] = rows[firsts | lasts]
    return ends


def _diameters(hull: Points) -> tuple[float, float]:
    """The longest diameter of a flat hull (n, 3) in mm, and its extent at right angles to it."""
    distances = np.linalg.norm(hull[:, None] - hull[None], axis=2)
    one, other = np.unravel_index(int(np.argmax(distances)), distances.shape)
    longest = float(distances[one, other])
    direction = (hull[other] - hull[one]) / longest
    beside = hull - hull[one]
    beside = beside - np.outer(beside @ direction, direction)
    # All of it lies along one line: its ends on either side of the diameter.
    furthest = beside[int(np.argmax(np.linalg.norm(beside, axis=1)))]
    along = beside @ (furthest / max(float(np.linalg.norm(furthest)), math.ulp(1.0)))
    return round(longest, 2), round(float(along.max() - along.min()), 2)
