"""Small DICOM series of one head, and a reader of what they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from core.imaging.dicom.study import Study, read_study
from core.imaging.volume import Volume
from tests.fixtures.images import make_dicom
from tests.fixtures.volumes import make_affine, make_head, make_series, to_zip

SHAPE = (20, 24, 10)
SPACING = (1.0, 1.2, 5.0)


def head(orientation: str = "LPS", tilt: float = 0.0, seed: int = 0) -> Volume:
    made = make_head(SHAPE, make_affine(orientation, SPACING, SHAPE, tilt), seed=seed)
    return Volume(made.voxels.round(), made.affine)


FLAIR = make_series(head(), number=3, description="AX T2 FLAIR")


def read(files: Any, **options: Any) -> Study:
    return read_study(to_zip(files), **options)


def study(*series: tuple[int, str, dict[str, Any]]) -> list[bytes]:
    return [
        file
        for number, description, elements in series
        for file in make_series(head(seed=number), number=number, description=description, elements=elements)
    ]


def item(**elements: Any) -> Dataset:
    """A data set of these elements, to stand in a sequence."""
    data_set = Dataset()
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    return data_set


def place(z: float, **elements: Any) -> dict[str, Any]:
    return {
        "SOPInstanceUID": f"1.2.9.{int(z * 100) + 1}",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.9",
        "SeriesNumber": 4,
        "SeriesDescription": "flair",
        "PixelSpacing": [1.0, 1.0],
        "ImagePositionPatient": [0.0, 0.0, float(z)],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        **elements,
    }


def placed(places: Any, elements: Mapping[int, Mapping[str, Any]] | None = None) -> list[bytes]:
    """Slices of 20 x 24 voxels at the given heights in mm, with further elements by index."""
    rng = np.random.default_rng(0)
    return [
        make_dicom(
            rng.integers(0, 500, (20, 24)).astype(np.int16),
            elements=place(z, SOPInstanceUID=f"1.2.9.{index + 1}", **(elements or {}).get(index, {})),
        )
        for index, z in enumerate(places)
    ]
