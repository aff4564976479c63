"""Axial slices of a few BraTS 2021 cases: the only data here with T2. Whole tumour = any label above zero."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.sequences import SEQUENCES
from training.data.archives import cached
from training.data.multisequence import SequenceSlice, SequenceSlices, prepare_arrays, present_mask
from training.data.own import is_own

# Slices with less brain than this share of the plane show nothing to learn from.
SMALLEST_BRAIN = 0.1
# Neighbouring 1 mm slices are nearly alike.
SLICE_STEP = 2


def brats_cases(data: Path) -> list[Path]:
    """Folders of the cropped uint8 cases (t1, t1ce, t2, flair and seg as .nii.gz)."""
    return sorted(path.parent for path in (data / "brats").glob("*/seg.nii.gz"))


def _volume(path: Path) -> npt.NDArray[Any]:
    image: Any = nib.load(path)
    if nib.aff2axcodes(image.affine) != ("L", "P", "S"):  # type: ignore[no-untyped-call]
        raise ValueError(f"{path.name}: expected axes towards left, posterior, superior")
    return np.asarray(image.dataobj)


def brats_slices(case: Path) -> Iterator[SequenceSlice]:
    """Axial slices of one case, the face upwards and the patient's left on the right, as in radiology."""
    volumes = {name: _volume(case / f"{name}.nii.gz").astype(np.float32) / np.float32(255) for name in SEQUENCES}
    labels = _volume(case / "seg.nii.gz")
    for index in range(0, labels.shape[2], SLICE_STEP):
        sequences = {name: np.ascontiguousarray(volume[:, :, index].T) for name, volume in volumes.items()}
        if np.mean(sequences["t2"] > 0) >= SMALLEST_BRAIN:
            yield SequenceSlice(sequences, labels[:, :, index].T > 0, case.name)


def load_brats(data: Path, spec: SegmentationPreprocessing) -> SequenceSlices:
    """Slices of every case, prepared once by the serving transform and cached; they have no splits.

    None of a user's own folder, whose cases are split and come with ``training.data.lgg``.
    """
    cases = [] if is_own(data) else brats_cases(data)

    def build() -> dict[str, npt.NDArray[Any]]:
        slices = [item for case in cases for item in brats_slices(case)]
        return dict(prepare_arrays(slices, len(slices), spec))

    key = {"spec": spec.model_dump(), "cases": [case.name for case in cases], "step": SLICE_STEP}
    arrays = cached(f"brats-{spec.size}", key, build)
    return SequenceSlices(arrays["images"], arrays["masks"], present_mask(*SEQUENCES))
