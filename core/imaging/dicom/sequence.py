"""Which MR sequence one DICOM header names, as far as it can: on the evidence that series are chosen by."""

from __future__ import annotations

from core.imaging.dicom.selection.acquisition import Acquisition
from core.imaging.dicom.selection.evidence import judge


def guess(acquisition: Acquisition) -> str | None:
    """``t1``, ``t1ce``, ``t2`` or ``flair``; None where the header does not settle it."""
    return judge(acquisition).sequence
