"""What other readers of DICOM get wrong (``findings/``), held against ours: a slope each, frames stored interleaved."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from core.imaging.dicom.study import read_study
from core.imaging.volume import Volume
from tests.fixtures.images import make_dicom
from tests.fixtures.volumes import to_zip

STEP_MM = 2.0
# Chosen by the first slice alone, the type of the voxels would hold neither the large values nor the fractions.
SLOPES = (1.0, 100.0, 1000.0, 2.0, 0.5, 0.125, 3.0, 4.0)
STORED = np.random.default_rng(0).integers(1, 1001, (len(SLOPES), 20, 24)).astype(np.uint16)
SERIES = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3", "SeriesDescription": "flair"}
ORIENTATION = {"ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
SPACING = {"PixelSpacing": [1.0, 1.0]}


def item(**elements: Any) -> Dataset:
    data_set = Dataset()
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    return data_set


def place(index: int) -> dict[str, Any]:
    return {"ImagePositionPatient": [0.0, 0.0, STEP_MM * index]}


def rescale(index: int) -> dict[str, Any]:
    return {"RescaleSlope": SLOPES[index], "RescaleIntercept": 0.0}


def classic(index: int) -> bytes:
    """One slice as a file of its own."""
    elements = {
        **SERIES,
        **ORIENTATION,
        **SPACING,
        **place(index),
        **rescale(index),
        "SOPInstanceUID": f"1.2.3.{index}",
    }
    return make_dicom(STORED[index], elements=elements)


def enhanced(order: list[int]) -> bytes:
    """One object whose frames are the slices in ``order``."""
    shared = item(
        PlaneOrientationSequence=Sequence([item(**ORIENTATION)]), PixelMeasuresSequence=Sequence([item(**SPACING)])
    )
    frames = [
        item(
            PlanePositionSequence=Sequence([item(**place(index))]),
            PixelValueTransformationSequence=Sequence([item(**rescale(index))]),
        )
        for index in order
    ]
    groups = {
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(frames),
    }
    return make_dicom(STORED[order], sop_class=uid.EnhancedMRImageStorage, elements={**SERIES, **groups})


def read(files: list[bytes]) -> Volume:
    volume = read_study(to_zip(files)).volumes["flair"]
    assert volume.affine[:3, 2].tolist() == [0, 0, STEP_MM]
    return volume


def truth() -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = (STORED * np.array(SLOPES)[:, None, None]).astype(np.float32)
    return values.transpose(2, 1, 0)


def test_each_slice_has_its_own_slope() -> None:
    assert np.array_equal(read([classic(index) for index in range(len(SLOPES))]).voxels, truth())


def test_interleaved_frames_find_their_places_and_keep_their_slopes() -> None:
    even, odd = list(range(0, len(SLOPES), 2)), list(range(1, len(SLOPES), 2))
    assert np.array_equal(read([enhanced(even + odd)]).voxels, truth())
