"""Segmentation objects (PS3.3 A.51): the labels of a volume on the planes of the series that it was taken from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

from core.contracts.regions import COLOURS
from core.imaging.dicom.results.reference import Reference
from core.imaging.dicom.results.segments import CATEGORY, REGION_CODES, SITE, Segment
from core.imaging.dicom.results.stamp import MANUFACTURER, RESEARCH, Stamp
from core.imaging.dicom.results.stand_ins import instance_of, refer_to_planes, stand_ins
from core.imaging.volume import LabelArray

SERIES_NUMBER: Final = 901
_KIND: Final = "segmentation"


def make_segmentation(
    labels: LabelArray, segments: Sequence[Segment], reference: Reference, stamp: Stamp, *, labelmap: bool = False
) -> Segmentation:
    """A segmentation of ``labels`` (i, j, k), which lie on the planes of ``reference`` in their order.

    BINARY, or LABELMAP (PS3.3 A.51, since 2024) with run lengths. Frames without a voxel are left out.
    """
    voxels = np.zeros_like(labels)
    for segment in segments:
        voxels[labels == segment.label] = segment.number
    result = Segmentation(
        source_images=stand_ins(reference),
        pixel_array=np.ascontiguousarray(voxels.transpose(2, 1, 0)),
        segmentation_type="LABELMAP" if labelmap else "BINARY",
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
    refer_to_planes(result, reference, "ReferencedInstanceSequence")
    result.SourceImageSequence = [instance_of(uid, reference) for uid in reference.instances]
    _settle_dimensions(result, stamp.uid("dimensions"))
    stamp.settle(result, reference)
    if labelmap:
        # By pydicom's own code: GDCM's, which is taken where nobody says otherwise, ends the process on such frames.
        result.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
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


def _settle_dimensions(result: Segmentation, uid: str) -> None:
    """highdicom draws the UID of the dimensions by lot."""
    for item in (*result.DimensionOrganizationSequence, *result.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
