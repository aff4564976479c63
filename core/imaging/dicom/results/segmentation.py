"""Segmentation objects (PS3.3 A.51): the labels of a volume on the planes of the series that it was taken from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DS

from core.imaging.dicom.results.reference import Reference
from core.imaging.dicom.results.segments import CATEGORY, COLOURS, REGION_CODES, SITE, Segment
from core.imaging.dicom.results.stamp import MANUFACTURER, RESEARCH, Stamp
from core.imaging.dicom.series import Plane
from core.imaging.volume import LabelArray

SERIES_NUMBER: Final = 901
_KIND: Final = "segmentation"


def make_segmentation(
    labels: LabelArray, segments: Sequence[Segment], reference: Reference, stamp: Stamp
) -> Segmentation:
    """A BINARY segmentation of ``labels`` (i, j, k), which lie on the planes of ``reference`` in their order.

    Frames without a voxel are left out. highdicom is shown a stand-in for every plane, so that files of one frame, of
    many and of several volumes are alike to it; what it says of the stand-ins is then said of the planes.
    """
    voxels = np.zeros_like(labels)
    for segment in segments:
        voxels[labels == segment.label] = segment.number
    result = Segmentation(
        source_images=[_stand_in(index, plane, reference) for index, plane in enumerate(reference.planes)],
        pixel_array=np.ascontiguousarray(voxels.transpose(2, 1, 0)),
        segmentation_type="BINARY",
        segment_descriptions=[_described(segment, stamp) for segment in segments],
        series_instance_uid=stamp.uid(f"series {_KIND}"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stamp.uid(_KIND),
        series_description=f"{MANUFACTURER} segmentation, {RESEARCH}",
        content_description=f"Regions of a brain tumour, {RESEARCH}",
        content_label="BRAIN_TUMOUR",
        omit_empty_frames=True,
        **stamp.series,
    )
    _refer(result, reference)
    _settle_dimensions(result, stamp.uid("dimensions"))
    stamp.settle(result, reference)
    return result


def _described(segment: Segment, stamp: Stamp) -> SegmentDescription:
    device = stamp.device
    return SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.name,
        segmented_property_category=CATEGORY,
        segmented_property_type=REGION_CODES[segment.region],
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=device.model,
            family=codes.DCM.ArtificialIntelligence,
            version=device.model_version,
            source=MANUFACTURER,
            parameters={"sha256": device.sha256},
        ),
        tracking_uid=stamp.uid(f"tracking {segment.tracked}"),
        tracking_id=segment.name,
        anatomic_regions=[SITE],
        display_color=CIELabColor.from_rgb(*COLOURS[segment.region]),
    )


def _stand_in(index: int, plane: Plane, reference: Reference) -> Dataset:
    """A plane as an image of its own, with no patient."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", _placeholder(index)
    image.StudyInstanceUID, image.SeriesInstanceUID = reference.study, reference.series
    image.FrameOfReferenceUID, image.Modality = reference.frame_of_reference, "MR"
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator"):  # fmt: skip
        setattr(image, keyword, None)
    image.Rows, image.Columns = plane.size
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


def _refer(result: Segmentation, reference: Reference) -> None:
    """Put the planes' own UIDs and frames in place of the stand-ins'."""
    planes = {_placeholder(index): plane for index, plane in enumerate(reference.planes)}
    # Frames of several segments on one plane share an item.
    sources = {
        id(source): source
        for groups in (*result.SharedFunctionalGroupsSequence, *result.PerFrameFunctionalGroupsSequence)
        for derivation in groups.get("DerivationImageSequence") or ()
        for source in derivation.SourceImageSequence
    }
    for source in sources.values():
        plane = planes[source.ReferencedSOPInstanceUID]
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = reference.sop_class, plane.instance
        if reference.frames:
            source.ReferencedFrameNumber = plane.frame + 1
    result.SourceImageSequence = [_instance(uid, reference) for uid in reference.instances]
    series = Dataset()
    series.SeriesInstanceUID = reference.series
    series.ReferencedInstanceSequence = [_instance(uid, reference) for uid in reference.instances]
    result.ReferencedSeriesSequence = [series]


def _instance(uid: str, reference: Reference) -> Dataset:
    instance = Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = reference.sop_class, uid
    return instance


def _settle_dimensions(result: Segmentation, uid: str) -> None:
    """highdicom draws the UID of the dimensions by lot."""
    for item in (*result.DimensionOrganizationSequence, *result.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
