"""Secondary captures (PS3.3 A.8.1): pictures that every viewer shows, for those that show no segmentation."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage

from core.imaging.dicom.results.reference import Reference
from core.imaging.dicom.results.stamp import MANUFACTURER, RESEARCH, Stamp

SERIES_NUMBER: Final = 903
_KIND: Final = "pictures"

ByteArray = npt.NDArray[np.uint8]


def make_capture(picture: ByteArray, reference: Reference, stamp: Stamp) -> SCImage:
    """A secondary capture of ``picture`` (h, w, 3) in RGB, which says itself that it is for research use only."""
    result = SCImage(
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # highdicom wants one; the picture shows several planes, and has letters at its edges.
        patient_orientation=("L", "P"),
        study_instance_uid=reference.study,
        series_instance_uid=stamp.uid(f"series {_KIND}"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stamp.uid(_KIND),
        series_description=f"{MANUFACTURER} pictures, {RESEARCH}",
        **stamp.series,
    )
    result["PatientOrientation"].value = None
    result.BodyPartExamined = "BRAIN"
    # Nothing in it names the patient.
    result.BurnedInAnnotation = "NO"
    result.DateOfSecondaryCapture, result.TimeOfSecondaryCapture = result.ContentDate, result.ContentTime
    stamp.settle(result, reference)
    return result
