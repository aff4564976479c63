"""Slices with outlines, as segmenters are shown them: TCGA-LGG, Figshare, heads without tumour, and BraTS.

Of TCGA-LGG (lgg.csv) there are T1, T1 post-contrast and FLAIR, no T2; of Figshare (slices.csv) one T1 post-contrast
slice with the outline of an enhancing tumour; of heads without tumour (slices.csv) one grey slice of no known
sequence. A few BraTS 2021 cases are the only data here with T2; whole tumour is any label above zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import SegmentationPreprocessing
from core.contracts.sequences import SEQUENCES
from core.imaging.preparation.transforms import ANY_SEQUENCE
from training.data.archives import cached
from training.data.cases import SLICE_STEP, SMALLEST_BRAIN, oriented
from training.data.labelled import read_greys, read_slices, slice_rows
from training.data.multisequence import SequenceSlice, SequenceSlices, prepare_arrays, present_mask
from training.data.own import is_own, own_data, own_key, own_outlined
from training.data.published import LggTable
from training.data.samples import Sample

# Of TCGA-LGG, in the order of channels.
LGG_SEQUENCES: Final = ("t1", "t1ce", "flair")
# Of Figshare.
SEQUENCE: Final = "t1ce"
HEALTHY_LABEL: Final = "no_tumor"


def lgg_rows(data: Path, split: str) -> tuple[Sample, ...]:
    """Slices of one split, by patient and then by position in the head.

    Of a user's own folder every outlined slice, in its own order. Raises ValueError where it has no such split.
    """
    if is_own(data):
        return own_outlined(data, split)
    return tuple(row for row in LggTable(data).describe() if row.split == split)


def read_lgg(data: Path, rows: Sequence[Sample]) -> Iterator[SequenceSlice]:
    """These of ``lgg_rows``, as published."""
    data_set = own_data(data) if is_own(data) else LggTable(data)
    for row, pixels in zip(rows, data_set.pixels(rows), strict=True):
        if pixels.mask is not None:
            yield SequenceSlice(pixels.sequences, pixels.mask, row.unit)


def lgg_slices(data: Path, split: str) -> Iterator[SequenceSlice]:
    """All of them as published."""
    return read_lgg(data, lgg_rows(data, split))


def outlined_rows(data: Path, split: str) -> tuple[Sample, ...]:
    """Slices of slices.csv that carry an outline; of a user's own folder the same where it is T1 post-contrast."""
    if is_own(data) and any(sample.sequences != (SEQUENCE,) for sample in own_data(data).samples):
        return ()
    return tuple(row for row in slice_rows(data, split) if row.mask)


def outlined_slices(data: Path, split: str) -> Iterator[SequenceSlice]:
    """All of them as published."""
    rows = outlined_rows(data, split)
    for row, pixels in zip(rows, read_slices(data, rows), strict=True):
        if pixels.mask is not None:
            yield SequenceSlice({SEQUENCE: next(iter(pixels.sequences.values()))}, pixels.mask, row.group)


def healthy_rows(data: Path, split: str) -> tuple[Sample, ...]:
    """Slices of slices.csv that show no tumour; none of a user's own folder."""
    return () if is_own(data) else slice_rows(data, split, (HEALTHY_LABEL,))


def healthy_slices(data: Path, split: str) -> Iterator[SequenceSlice]:
    """All of them as published, each with an empty mask."""
    rows = healthy_rows(data, split)
    for row, grey in zip(rows, read_greys(data, rows), strict=True):
        yield SequenceSlice({ANY_SEQUENCE: grey}, np.zeros(grey.shape, np.bool_), row.group)


def _load(
    name: str,
    data: Path,
    rows: Sequence[Sample],
    slices: Iterable[SequenceSlice],
    spec: SegmentationPreprocessing,
    sequences: Sequence[str],
    kinds: npt.NDArray[np.str_] | None = None,
) -> SequenceSlices:
    """``slices`` of ``rows``, prepared once by the serving transform and cached."""
    key = {"spec": spec.model_dump(), "images": [row.name for row in rows]} | own_key(data)
    arrays = cached(f"{name}-{spec.size}", key, lambda: dict(prepare_arrays(slices, len(rows), spec)))
    return SequenceSlices(arrays["images"], arrays["masks"], present_mask(*sequences), kinds)


def load_lgg(data: Path, split: str, spec: SegmentationPreprocessing) -> SequenceSlices:
    """TCGA-LGG of one split."""
    rows = lgg_rows(data, split)
    return _load(f"lgg-{split}", data, rows, read_lgg(data, rows), spec, rows[0].sequences if rows else ())


def load_outlined(data: Path, split: str, spec: SegmentationPreprocessing) -> SequenceSlices:
    """Outlined slices of Figshare of one split, with their labels."""
    rows = outlined_rows(data, split)
    kinds = np.array([row.label for row in rows])
    return _load(f"outlined-{split}", data, rows, outlined_slices(data, split), spec, (SEQUENCE,), kinds)


def load_healthy(data: Path, split: str, spec: SegmentationPreprocessing) -> SequenceSlices:
    """Heads without tumour of one split: the slice fills every channel."""
    rows = healthy_rows(data, split)
    return _load(f"healthy-{split}", data, rows, healthy_slices(data, split), spec, SEQUENCES)


def brats_cases(data: Path) -> list[Path]:
    """Folders of the cropped uint8 cases (t1, t1ce, t2, flair and seg as .nii.gz)."""
    return sorted(path.parent for path in (data / "brats").glob("*/seg.nii.gz"))


def brats_slices(case: Path) -> Iterator[SequenceSlice]:
    """Axial slices of one case, the face upwards and the patient's left on the right, as in radiology."""
    volumes = {name: oriented(case / f"{name}.nii.gz")[0].astype(np.float32) / np.float32(255) for name in SEQUENCES}
    labels = oriented(case / "seg.nii.gz")[0]
    for index in range(0, labels.shape[2], SLICE_STEP):
        sequences = {name: np.ascontiguousarray(volume[:, :, index].T) for name, volume in volumes.items()}
        if np.mean(sequences["t2"] > 0) >= SMALLEST_BRAIN:
            yield SequenceSlice(sequences, labels[:, :, index].T > 0, case.name)


def load_brats(data: Path, spec: SegmentationPreprocessing) -> SequenceSlices:
    """Slices of every case, prepared once by the serving transform and cached; they have no splits.

    None of a user's own folder, whose cases are split and come with ``lgg_rows``.
    """
    cases = [] if is_own(data) else brats_cases(data)

    def build() -> dict[str, npt.NDArray[Any]]:
        slices = [item for case in cases for item in brats_slices(case)]
        return dict(prepare_arrays(slices, len(slices), spec))

    key = {"spec": spec.model_dump(), "cases": [case.name for case in cases], "step": SLICE_STEP}
    arrays = cached(f"brats-{spec.size}", key, build)
    return SequenceSlices(arrays["images"], arrays["masks"], present_mask(*SEQUENCES))
