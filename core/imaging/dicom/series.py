"""Slices of a DICOM series to a volume: by their positions in space, never by names or instance numbers.

Geometry: DICOM PS3.3 C.7.6.2.1.1. DICOM's x and y run left and posterior, a volume's run right and anterior.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.errors import InconsistentGeometry, InvalidDicom, TooFewSlices
from core.imaging.dicom import header as dicom_header
from core.imaging.dicom.header import Header, Layout
from core.imaging.dicom.pixels import decode_frame
from core.imaging.dicom.selection.acquisition import Acquisition, at_frame
from core.imaging.volume import Affine, FloatArray

KEYWORDS: Final = (
    "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SOPInstanceUID", "FrameOfReferenceUID",
    "ImagePositionPatient", "ImageOrientationPatient",
)  # fmt: skip
"""What has to be read of a file besides what a slice needs. None of it is ever shown but the number of the series."""

# Cosines of one orientation, as different frames of a scanner write them.
ORIENTATION_TOLERANCE: Final = 1e-3
# Slices closer than this lie at one position.
SAME_POSITION_MM: Final = 0.01
# Distances between neighbours may differ from the median by this share of it.
SPACING_TOLERANCE: Final = 0.05
# A slice may lie beside the line through the others by this much.
DRIFT_TOLERANCE_MM: Final = 0.1

Vector = npt.NDArray[np.float64]


class SeveralVolumes(InconsistentGeometry):
    """Slices lie at one position, or differ in angle or size: what was sent is no volume but several."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One slice as its header describes it.

    ``source`` and ``frame`` say where its pixels are; ``position`` (3,) is the centre of the first pixel in DICOM's mm,
    ``orientation`` (2, 3) the directions in which columns and rows count up, ``spacing_mm`` (between rows, between
    columns). ``instance`` and ``frame_of_reference`` are identifiers: compared, never shown.
    """

    source: int
    frame: int
    instance: str
    frame_of_reference: str
    position: Vector
    orientation: npt.NDArray[np.float64]
    spacing_mm: tuple[float, float]
    size: tuple[int, int]
    acquisition: Acquisition

    @property
    def normal(self) -> Vector:
        """Direction (3,) in which slices are counted."""
        return np.cross(self.orientation[0], self.orientation[1])


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Planes in order along their normal, the ``affine`` of the voxels (column, row, slice), and what was noticed."""

    planes: tuple[Plane, ...]
    affine: Affine
    warnings: tuple[str, ...]


def read_planes(header: Header, layout: Layout, source: int, acquisition: Acquisition) -> list[Plane]:
    """All frames of one file of a series that was taken as ``acquisition`` says.

    Raises ``InvalidDicom`` where one does not say where it lies.
    """
    planes = []
    for frame in range(layout.frames):
        seen = header.at(frame)
        acquisition = at_frame(acquisition, seen)
        planes.append(_plane(seen, layout, (source, frame), acquisition))
    return planes


def _plane(header: Header, layout: Layout, at: tuple[int, int], acquisition: Acquisition) -> Plane:
    position = _numbers(header, "ImagePositionPatient", 3)
    cosines = _numbers(header, "ImageOrientationPatient", 6)
    between_rows, between_columns = _numbers(header, "PixelSpacing", 2)
    if min(between_rows, between_columns) <= 0:
        raise InvalidDicom("PixelSpacing is not a distance.")
    orientation = np.asarray(cosines).reshape(2, 3)
    if np.abs(orientation @ orientation.T - np.eye(2)).max() > 10 * ORIENTATION_TOLERANCE:
        raise InvalidDicom("ImageOrientationPatient does not hold two perpendicular directions.")
    return Plane(
        source=at[0],
        frame=at[1],
        instance=header.text("SOPInstanceUID"),
        frame_of_reference=header.text("FrameOfReferenceUID"),
        position=np.asarray(position),
        orientation=orientation,
        spacing_mm=(between_rows, between_columns),
        size=(layout.rows, layout.columns),
        acquisition=acquisition,
    )


def _numbers(header: Header, keyword: str, count: int) -> tuple[float, ...]:
    """An element without which a slice has no place."""
    numbers = header.numbers(keyword)
    if not numbers:
        raise InvalidDicom(f"{keyword} is missing: a slice does not say its place or size.")
    if len(numbers) != count:
        raise InvalidDicom(f"{keyword} holds {len(numbers)} numbers, {count} are needed.")
    return numbers


def stack(planes: Sequence[Plane], min_slices: int) -> Stack:
    """Planes of one series, in any order, as a stack of evenly spaced slices.

    Raises ``InconsistentGeometry`` where they differ in size or angle, lie at one position, at uneven distances, with
    slices missing between them or shifted sideways; ``TooFewSlices`` for fewer than ``min_slices``.
    """
    planes, warnings = _without_copies(planes)
    first = planes[0]
    _check_alike(planes, first)
    if len(planes) < min_slices:
        raise TooFewSlices(f"The series has {len(planes)} slices, at least {min_slices} are needed.")
    places = np.asarray([plane.position for plane in planes])
    distances = places @ first.normal
    order = np.argsort(distances, kind="stable")
    _check_distances(np.diff(distances[order]))
    places = places[order]
    step = (places[-1] - places[0]) / (len(planes) - 1)
    _check_line(places, step, first.normal)
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[0] * first.spacing_mm[1]
    affine[:3, 1] = first.orientation[1] * first.spacing_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = places[0]
    return Stack(tuple(planes[index] for index in order), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, warnings)


def _without_copies(planes: Sequence[Plane]) -> tuple[list[Plane], tuple[str, ...]]:
    """Every slice once: files with one SOPInstanceUID are copies, unless they lie at different places."""
    places: dict[tuple[str, int], set[tuple[float, ...]]] = defaultdict(set)
    for plane in planes:
        places[plane.instance or str(plane.source), plane.frame].add(tuple(plane.position))
    if any(len(found) > 1 for found in places.values()):
        note = "Different slices bear one SOPInstanceUID; they were told apart by their positions."
        return list(planes), (note,)
    unique = {(plane.instance or str(plane.source), plane.frame): plane for plane in planes}
    copies = len(planes) - len(unique)
    return list(unique.values()), (f"{copies} slices came twice and were taken once.",) if copies else ()


def _check_alike(planes: Sequence[Plane], first: Plane) -> None:
    if any(np.abs(plane.orientation - first.orientation).max() > ORIENTATION_TOLERANCE for plane in planes):
        raise SeveralVolumes("The slices of the series lie at different angles.")
    if any(plane.size != first.size for plane in planes):
        raise SeveralVolumes("The slices of the series differ in size.")
    if not np.allclose([plane.spacing_mm for plane in planes], first.spacing_mm, rtol=1e-3, atol=0):
        raise InconsistentGeometry("The slices of the series differ in PixelSpacing.")


def _check_distances(gaps: Vector) -> None:
    """Judge the distances in mm between neighbours in order."""
    if gaps.max() < SAME_POSITION_MM:
        raise InconsistentGeometry("ImagePositionPatient is the same in all slices: they do not say where they lie.")
    if gaps.min() < SAME_POSITION_MM:
        raise SeveralVolumes(
            "Several slices of the series lie at one position: it holds a repeat, or a course over time. Send one."
        )
    step = float(np.median(gaps))
    tolerance = SPACING_TOLERANCE * step
    if np.abs(gaps - step).max() <= tolerance:
        return
    steps = np.maximum(1, np.rint(gaps / step))
    if (np.abs(gaps - steps * step) <= tolerance * steps).all():
        raise InconsistentGeometry(f"{int(steps.sum()) - gaps.size} slices are missing within the series.")
    raise InconsistentGeometry(f"The slices lie at uneven distances, from {gaps.min():.2f} to {gaps.max():.2f} mm.")


def _check_line(places: Vector, step: Vector, normal: Vector) -> None:
    """Judge how far slices lie beside the straight line from the first to the last."""
    even = places[0] + np.arange(len(places))[:, None] * step
    if np.linalg.norm(np.cross(places - even, normal), axis=1).max() > DRIFT_TOLERANCE_MM:
        raise InconsistentGeometry("The slices of the series are shifted sideways against each other.")


def read_pixels(data_set: Any, layout: Layout, frame: int) -> FloatArray:
    """Rescaled values (column, row) of one frame, white on black; NaN where the file pads."""
    stored = decode_frame(data_set, layout, frame)
    header = Header(data_set).at(frame)
    slope, intercept = dicom_header.read_rescale(header)
    padding = header.number("PixelPaddingValue")
    brightest = -1 if layout.signed else (1 << layout.stored) - 1
    values = np.subtract(brightest, stored, dtype=np.float32) if layout.inverted else stored.astype(np.float32)
    values = values * np.float32(slope) + np.float32(intercept)
    if padding is not None:
        values[stored == padding] = np.nan
    return np.asarray(values.T, np.float32)
