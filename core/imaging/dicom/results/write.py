"""All results of one volume as files: made, read back, and only then handed over."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pydicom
from pydicom.dataset import Dataset

from core.errors import ResultCorrupt
from core.imaging.dicom.results.capture import ByteArray, make_capture
from core.imaging.dicom.results.findings import Findings
from core.imaging.dicom.results.measurements import make_report
from core.imaging.dicom.results.presentation import make_presentation
from core.imaging.dicom.results.reading import check_segmentation
from core.imaging.dicom.results.reference import Reference
from core.imaging.dicom.results.segmentation import make_segmentation
from core.imaging.dicom.results.segments import segments_of
from core.imaging.dicom.results.stamp import Device, Stamp
from core.imaging.volume import LabelArray

SEGMENTATION: Final = "segmentation.seg.dcm"
MEASUREMENTS: Final = "measurements.sr.dcm"
PICTURES: Final = "pictures.sc.dcm"
PRESENTATION: Final = "outlines.pr.dcm"
"""Names of the results."""


@dataclass(frozen=True, slots=True)
class Forms:
    """What not every archive takes: segmentations as ``labelmap``, and outlines as a ``presentation`` state."""

    labelmap: bool = False
    presentation: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """``labels`` (i, j, k) on the planes of the reference, ``findings`` on them, and a ``picture`` (h, w, 3) in RGB."""

    labels: LabelArray
    findings: Findings
    picture: ByteArray
    forms: Forms = Forms()

    @property
    def content(self) -> str:
        """The SHA-256 of all of it."""
        digest = hashlib.sha256(repr((self.labels.shape, self.picture.shape, self.findings, self.forms)).encode())
        digest.update(self.labels.tobytes(order="F"))
        digest.update(self.picture.tobytes())
        return digest.hexdigest()


def write_results(
    drawn: Drawn, reference: Reference, sources: Sequence[Reference], device: Device, created: datetime
) -> dict[str, bytes]:
    """The files by name; no segmentation where no voxel is labelled, as loaders choke on segments without a frame.

    ``reference`` is the series that the labels lie on, ``sources`` are all that ``device`` was shown. The same of all
    these, and the same time ``created``, make the same bytes.

    Raises ``ResultCorrupt`` where one does not read back as what it was made of. No message quotes a header.
    """
    with _discreet():
        stamp = Stamp.of(device, sources, drawn.content, created)
        segments = segments_of(drawn.labels, drawn.findings.meaning)
        segmentation = (
            make_segmentation(drawn.labels, segments, reference, stamp, labelmap=drawn.forms.labelmap)
            if segments
            else None
        )
        report = make_report(drawn.findings, segments, segmentation, reference, stamp)
        files = {MEASUREMENTS: _written(report), PICTURES: _written(make_capture(drawn.picture, reference, stamp))}
        if segmentation is not None:
            files[SEGMENTATION] = _written(segmentation)
            check_segmentation(files[SEGMENTATION], drawn.labels, segments, reference)
        if segments and drawn.forms.presentation:
            files[PRESENTATION] = _written(make_presentation(drawn.labels, segments, reference, stamp))
        _check_picture(files[PICTURES], drawn.picture)
        return files


@contextmanager
def _discreet() -> Iterator[None]:
    """Without remarks on values, and without errors that quote them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (ResultCorrupt, MemoryError):
            raise
        except Exception as error:
            raise ResultCorrupt(f"A result cannot be written as DICOM ({type(error).__name__}).") from None


def _written(result: Dataset) -> bytes:
    file = io.BytesIO()
    result.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _check_picture(data: bytes, picture: ByteArray) -> None:
    if pydicom.dcmread(io.BytesIO(data)).PixelData.rstrip(b"\0") != picture.tobytes().rstrip(b"\0"):
        raise ResultCorrupt("The picture does not read back.")
