"""Which MR sequence one DICOM header names, as far as one allows: the choice among series rests on the same evidence."""

from __future__ import annotations

from core.imaging.dicom.selection.acquisition import Acquisition
from core.imaging.dicom.selection.evidence import judge


def guess(acquisition: Acquisition) -> str | None:
    """``t1``, ``t1ce``, ``t2`` or ``flair``; None where the header does not settle it."""
    return judge(acquisition).sequence
