"""Planes as images of their own, which highdicom is shown in place of the files.

So files of one frame, of many and of several volumes are alike to it, and no patient is in what it sees. What it then
says of the stand-ins is said of the planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DS

from core.imaging.dicom.results.reference import EXPECTED, Reference
from core.imaging.dicom.series import Plane


def stand_ins(reference: Reference) -> list[Dataset]:
    """One for each plane, in their order."""
    return [_stand_in(index, plane, reference) for index, plane in enumerate(reference.planes)]


def refer_to_planes(result: Dataset, reference: Reference, listed: str) -> None:
    """Put the planes' own UIDs and frames in place of the stand-ins', wherever ``result`` refers to one.

    Its ReferencedSeriesSequence then lists the files, each once, under the keyword ``listed``.
    """
    planes = {_placeholder(index): plane for index, plane in enumerate(reference.planes)}
    for item in _referring(result, set()):
        plane = planes.get(item.ReferencedSOPInstanceUID)
        if plane is not None:
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class, plane.instance
            if reference.frames:
                item.ReferencedFrameNumber = plane.frame + 1
    series = Dataset()
    series.SeriesInstanceUID = reference.series
    setattr(series, listed, [instance_of(uid, reference) for uid in reference.instances])
    result.ReferencedSeriesSequence = [series]


def _referring(data_set: Dataset, seen: set[int]) -> list[Dataset]:
    """Items that refer to an object, at any depth, each once: highdicom shares them between frames."""
    if id(data_set) in seen:
        return []
    seen.add(id(data_set))
    found = [data_set] if "ReferencedSOPInstanceUID" in data_set else []
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                found += _referring(item, seen)
    return found


def instance_of(uid: str, reference: Reference) -> Dataset:
    """An item that refers to a file of ``reference``."""
    instance = Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = reference.sop_class, uid
    return instance


def _stand_in(index: int, plane: Plane, reference: Reference) -> Dataset:
    """A plane as an image of its own, with no patient."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, _placeholder(index)
    image.StudyInstanceUID, image.SeriesInstanceUID = reference.study, reference.series
    image.FrameOfReferenceUID, image.Modality = reference.frame_of_reference, "MR"
    for keyword in (*EXPECTED, "PositionReferenceIndicator"):
        setattr(image, keyword, None)
    image.Rows, image.Columns = plane.size
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.PixelSpacing = _decimals(plane.spacing_mm)
    image.ImagePositionPatient = _decimals(plane.position)
    # That of the first plane: the others differ from it by less than can be seen (``ORIENTATION_TOLERANCE``).
    image.ImageOrientationPatient = _decimals(reference.planes[0].orientation.ravel())
    image.SliceThickness = _decimals([_distance(reference.planes)])[0]
    return image


def _distance(planes: Sequence[Plane]) -> float:
    """Mean distance in mm between neighbouring planes."""
    ends = planes[-1].position - planes[0].position
    return abs(float(ends @ planes[0].normal)) / max(1, len(planes) - 1)


def _decimals(numbers: Any) -> list[Any]:
    return [DS(float(number), auto_format=True) for number in numbers]


def _placeholder(index: int) -> str:
    return f"2.25.{index + 1}"
