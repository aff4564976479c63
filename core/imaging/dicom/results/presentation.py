"""Grayscale softcopy presentation states (PS3.3 A.33.1): outlines that viewers lay over the series itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from highdicom.pr import GraphicAnnotation, GraphicLayer, GraphicObject, GrayscaleSoftcopyPresentationState

from core.contracts.regions import COLOURS
from core.imaging.dicom.results.reference import Reference
from core.imaging.dicom.results.segments import Segment
from core.imaging.dicom.results.stamp import MANUFACTURER, RESEARCH, Stamp
from core.imaging.dicom.results.stand_ins import refer_to_planes, stand_ins
from core.imaging.volume import LabelArray

SERIES_NUMBER: Final = 904
_KIND: Final = "presentation"
# PS3.3 C.10.5: the corner of the first pixel is 0, so its centre is this.
_CENTRE: Final = 0.5


def make_presentation(
    labels: LabelArray, segments: Sequence[Segment], reference: Reference, stamp: Stamp
) -> GrayscaleSoftcopyPresentationState:
    """Outlines of the ``segments`` of ``labels`` (i, j, k) on the slices of ``reference``, a layer each."""
    images = stand_ins(reference)
    layers = {
        segment.number: GraphicLayer(
            f"SEGMENT_{segment.number}",
            order=segment.number,
            description=segment.name,
            display_color=CIELabColor.from_rgb(*COLOURS[segment.region]),
        )
        for segment in segments
    }
    annotations = [
        GraphicAnnotation([images[index]], layers[segment.number], graphic_objects=outlines)
        for segment in segments
        for index in range(labels.shape[2])
        if (outlines := [*_outlines(labels[:, :, index] == segment.label)])
    ]
    result = GrayscaleSoftcopyPresentationState(
        referenced_images=images,
        series_instance_uid=stamp.uid(f"series {_KIND}"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stamp.uid(_KIND),
        content_label="BRAIN_TUMOUR",
        content_description=f"Outlines, {RESEARCH}",
        series_description=f"{MANUFACTURER} outlines, {RESEARCH}",
        graphic_layers=[*layers.values()],
        graphic_annotations=annotations,
        **stamp.described,
    )
    result.BodyPartExamined = "BRAIN"
    result.PresentationCreationDate, result.PresentationCreationTime = result.SeriesDate, result.SeriesTime
    refer_to_planes(result, reference, "ReferencedImageSequence")
    stamp.settle(result, reference)
    return result


def _outlines(mask: npt.NDArray[np.bool_]) -> Iterator[GraphicObject]:
    """Closed lines through the outermost pixels of ``mask`` (columns, rows), holes included."""
    contours, _ = cv2.findContours(mask.T.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        points = contour[:, 0, :].astype(float) + _CENTRE
        yield GraphicObject("POLYLINE", np.concatenate([points, points[:1]]), "PIXEL")
