"""A segmentation object read back: by plain pydicom and by position, as a stranger reads it.

Nothing here is shared with what writes it, so that a mistake in one is seen by the other.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.utils import pixel_array
from pydicom.uid import SegmentationStorage

from core.errors import ResultCorrupt
from core.imaging.dicom.results.reference import Reference
from core.imaging.dicom.results.segments import Segment
from core.imaging.dicom.series import ORIENTATION_TOLERANCE
from core.imaging.volume import LabelArray

# Positions are written with 16 characters; planes lie further apart than this.
_SAME_MM: Final = 1e-3


def check_segmentation(data: bytes, labels: LabelArray, segments: Sequence[Segment], reference: Reference) -> None:
    """Raise ``ResultCorrupt`` unless the file ``data`` gives back ``labels`` (i, j, k) in every voxel.

    Every frame is put where it says that it lies, on the planes of ``reference``.
    """
    data_set = pydicom.dcmread(io.BytesIO(data))
    shared = data_set.SharedFunctionalGroupsSequence[0]
    if data_set.FrameOfReferenceUID != reference.frame_of_reference or data_set.StudyInstanceUID != reference.study:
        raise ResultCorrupt("It lies in another study or frame of reference.")
    cosines = np.asarray(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    spacing = np.asarray(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    first = reference.planes[0]
    if not np.allclose(cosines, first.orientation, atol=ORIENTATION_TOLERANCE) or not np.allclose(
        spacing, first.spacing_mm, rtol=1e-6
    ):
        raise ResultCorrupt("It lies at another angle, or has other pixels.")
    found = np.zeros_like(labels)
    by_number = {segment.number: segment.label for segment in segments}
    binary = data_set.SOPClassUID == SegmentationStorage
    frames = _frames(data_set) if binary else _decoded(data_set)
    for groups, frame in zip(data_set.PerFrameFunctionalGroupsSequence, frames, strict=True):
        index = _index_of(_group("PlanePositionSequence", groups, shared).ImagePositionPatient, reference)
        for number, mask in _masks(frame, groups, shared, binary=binary):
            found[:, :, index][mask.T] = by_number[number]
    if not np.array_equal(found, labels):
        raise ResultCorrupt(f"{np.count_nonzero(found != labels)} voxels differ.")


def _decoded(data_set: Any) -> npt.NDArray[np.uint8]:
    """Frames (n, rows, columns) of run lengths."""
    pixels: npt.NDArray[np.uint8] = pixel_array(data_set, decoding_plugin="pydicom")
    return pixels.reshape(-1, int(data_set.Rows), int(data_set.Columns))


def _masks(
    frame: npt.NDArray[Any], groups: Any, shared: Any, *, binary: bool
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Numbers of the segments of a frame, and where in it they are: of one that it names, or of those in its pixels."""
    if binary:
        yield int(_group("SegmentIdentificationSequence", groups, shared).ReferencedSegmentNumber), frame
        return
    for number in np.unique(frame[frame > 0]).tolist():
        yield number, frame == number


def _group(keyword: str, own: Any, shared: Any) -> Any:
    """The functional group of a frame: its own, or the one that all frames share."""
    return (own if keyword in own else shared)[keyword][0]


def _frames(data_set: Any) -> npt.NDArray[np.bool_]:
    """Frames (n, rows, columns): one bit a pixel, the lowest first, with no gap between frames (PS3.5 8.1.1)."""
    count, rows, columns = int(data_set.NumberOfFrames), int(data_set.Rows), int(data_set.Columns)
    bits = np.unpackbits(np.frombuffer(data_set.PixelData, np.uint8), bitorder="little", count=count * rows * columns)
    return bits.reshape(count, rows, columns).astype(bool)


def _index_of(position: Any, reference: Reference) -> int:
    """The plane that lies at ``position`` (3,) in DICOM's mm."""
    distances = [float(np.linalg.norm(np.asarray(position, float) - plane.position)) for plane in reference.planes]
    nearest = int(np.argmin(distances))
    if distances[nearest] > _SAME_MM:
        raise ResultCorrupt(f"A frame lies {distances[nearest]:.3f} mm beside its plane.")
    return nearest
