"""The NIfTI layouts, BraTS and MSD: cases of several sequences with one label volume, and their axial slices.

BraTS as published, any year: a folder a case with four sequences and ``seg``, named in the old or the new way. Until
2021 files end in ``_t1 _t1ce _t2 _flair`` and enhancing tumour is label 4; from 2023 they end in
``-t1n -t1c -t2w -t2f`` and it is 3, while 4 is the resection cavity of treated patients, which is no tumour.

Task01_BrainTumour of the Medical Segmentation Decathlon (MSD): ``dataset.json``, 4D images, labels beside them: 1
oedema, 2 non-enhancing, 3 enhancing. The cases are BraTS 2016 and 2017 renamed, so their patients cannot be matched
with those of other BraTS editions by name.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.imaging.preparation.background import with_dark_background
from training.data.archives import FloatArray, IntArray, UInt8Array, cached
from training.data.samples import DataSet, Pixels, Sample

# The same choice as in ``training.data.outlined``: slices with less brain than this share of the plane show nothing to
# learn from, and neighbouring 1 mm slices are nearly alike.
SMALLEST_BRAIN: Final = 0.1
SLICE_STEP: Final = 2
# Grey values are scaled by this percentile of a volume's brain, so that a few bright vessels do not darken the rest.
BRIGHTEST_PERCENTILE: Final = 99.9
# Towards the patient's left, back and head: an axial slice, turned, has the face up and the left on the right.
AXES: Final = "LPS"


@dataclass(frozen=True)
class Case:
    """Files of one scan.

    ``images`` gives for each sequence its file and, where the file has four dimensions, the index in the last one.
    ``regions`` gives for each code in the label file ours: 0 no tumour, 1 necrotic or non-enhancing core, 2 oedema,
    3 enhancing.
    """

    name: str
    patient: str
    images: Mapping[str, tuple[Path, int | None]]
    labels: Path
    regions: Mapping[int, int]


@dataclass(frozen=True)
class Volume:
    """A case read: grey float32 (x, y, z) in [0, 1] by sequence, axes towards left, posterior, superior.

    ``regions`` uint8 (x, y, z) as in ``Pixels``; ``spacing_mm`` along the three axes.
    """

    sequences: Mapping[str, FloatArray]
    regions: UInt8Array
    spacing_mm: tuple[float, float, float]

    def axial(self, position: int) -> Pixels:
        """One slice, the face upwards and the patient's left on the right, as in radiology."""
        regions = np.ascontiguousarray(self.regions[:, :, position].T)
        sequences = {name: np.ascontiguousarray(grey[:, :, position].T) for name, grey in self.sequences.items()}
        return Pixels(sequences, regions > 0, regions)


def oriented(path: Path, index: int | None = None) -> tuple[npt.NDArray[Any], tuple[float, float, float]]:
    """Voxels (x, y, z) along ``AXES`` and their spacing in mm; of four dimensions the one at ``index``."""
    import nibabel as nib  # comes with training/requirements.txt; the other layouts are read without it
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nib.load(path)
        voxels = np.asarray(image.dataobj if index is None else image.dataobj[..., index])
    except (OSError, EOFError, IndexError, ImageFileError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if voxels.ndim != 3:
        raise ValueError(f"{path}: expected a volume, found {voxels.ndim} dimensions")
    if lost := int(voxels.size - np.count_nonzero(np.isfinite(voxels))):
        raise ValueError(f"{path}: {lost} voxels hold no finite number")
    there = nib.orientations.io_orientation(image.affine)
    turn = nib.orientations.ornt_transform(there, nib.orientations.axcodes2ornt(AXES))
    sizes = image.header.get_zooms()
    spacing = tuple(float(sizes[int(axis)]) for axis in np.argsort(turn[:, 0]))
    turned: npt.NDArray[Any] = nib.orientations.apply_orientation(voxels, turn)
    return turned, (spacing[0], spacing[1], spacing[2])


def _grey(voxels: npt.NDArray[Any]) -> FloatArray:
    """Any unit as [0, 1]: what surrounds the brain is 0, as in serving, and the bright end of the brain becomes 1."""
    values, surroundings = with_dark_background(voxels.astype(np.float32))
    floor = np.float32(min(0.0, float(values.min())) if surroundings is None else surroundings.black)
    values = np.maximum(values - floor, 0)
    brain = values[values > 0]
    brightest = float(np.percentile(brain, BRIGHTEST_PERCENTILE)) if brain.size else 1.0
    return np.minimum(values / np.float32(brightest), 1)


def _regions(case: Case, voxels: npt.NDArray[Any]) -> UInt8Array:
    found = np.unique(voxels)
    unknown = [code for code in found.tolist() if code not in case.regions]
    if unknown:
        raise ValueError(f"{case.labels}: label {unknown[0]:g} is none of {', '.join(map(str, case.regions))}")
    return np.array([case.regions[int(code)] for code in found], np.uint8)[np.searchsorted(found, voxels)]


def read_volume(case: Case) -> Volume:
    """Every sequence and the regions of a case.

    Raises ValueError where a file is broken, the sizes differ or the label file has a code that the layout has not.
    """
    codes, spacing_mm = oriented(case.labels)
    sequences = {name: _grey(oriented(*source)[0]) for name, source in case.images.items()}
    for name, grey in sequences.items():
        if grey.shape != codes.shape:
            raise ValueError(f"{case.name}: {name} has {grey.shape} voxels, the labels {codes.shape}")
    return Volume(sequences, _regions(case, codes), spacing_mm)


class VolumeSet(DataSet):
    """Cases as axial slices. ``volume`` gives a whole case to those who train on volumes."""

    source: str

    @abstractmethod
    def find_cases(self) -> Iterable[Case]:
        """Every case that has labels."""

    @property
    def cases(self) -> Mapping[str, Case]:
        """By name, sorted."""
        return {case.name: case for case in sorted(self.find_cases(), key=lambda case: case.name)}

    def describe(self) -> Iterator[Sample]:
        """Every other slice with enough brain; which these are is found once and kept in the cache."""
        cases = tuple(self.cases.values())
        files = [[str(path.resolve()), path.stat().st_size] for case in cases for path, _ in case.images.values()]
        key = {"files": files, "step": SLICE_STEP, "brain": SMALLEST_BRAIN}
        index = cached("volume-slices", key, lambda: {"index": _brain_slices(cases)})["index"]
        for number, position in index.tolist():
            case = cases[number]
            name = case.labels.relative_to(self.folder).as_posix()
            yield Sample(case.name, tuple(case.images), self.source, "", name, case.patient, position=position)

    def pixels(self, samples: Iterable[Sample]) -> Iterator[Pixels]:
        """Samples of one case should follow each other: the last volume read is kept, earlier ones are not."""
        cases = self.cases
        volume = lru_cache(maxsize=1)(lambda name: read_volume(cases[name]))
        for sample in samples:
            if sample.position is None:
                raise ValueError(f"{sample.name} is no slice of a volume")
            yield volume(sample.image).axial(sample.position)


def _brain_slices(cases: Iterable[Case]) -> IntArray:
    """(n, 2): number of the case and position of the slice, judged by the case's first sequence."""
    rows: list[tuple[int, int]] = []
    for number, case in enumerate(cases):
        voxels, _ = oriented(*next(iter(case.images.values())))
        shares = (_grey(voxels) > 0).mean(axis=(0, 1))
        rows.extend((number, z) for z in range(0, voxels.shape[2], SLICE_STEP) if shares[z] >= SMALLEST_BRAIN)
    return np.array(rows, np.int64).reshape(-1, 2)


_OLD: Final[Mapping[str, str]] = {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"}
_NEW: Final[Mapping[str, str]] = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}
# The endings of each edition, and its codes.
_EDITIONS: Final = ((_OLD, {0: 0, 1: 1, 2: 2, 3: 3, 4: 3}), (_NEW, {0: 0, 1: 1, 2: 2, 3: 3, 4: 0}))
# ``seg.nii.gz`` alone or after the case's name.
_LABELS = re.compile(r"(?P<stem>|.*[_-])seg\.nii(\.gz)?")
# From 2023 on the last number counts a patient's scans.
_SCAN = re.compile(r"(BraTS-[A-Za-z]+-\d{5})-\d{3}")


def _beside(labels: Path, stem: str) -> tuple[dict[str, tuple[Path, int | None]], Mapping[int, int]] | None:
    """The files of all sequences beside a label file, and what its codes mean; None unless all are there."""
    for names, regions in _EDITIONS:
        images: dict[str, tuple[Path, int | None]] = {
            sequence: (path, None)
            for sequence, ending in names.items()
            for suffix in (".nii", ".nii.gz")
            if (path := labels.with_name(f"{stem}{ending}{suffix}")).is_file()
        }
        if len(images) == len(names):
            return images, regions
    return None


def _label_files(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*seg.nii*"):
        match = _LABELS.fullmatch(path.name)
        # Some years carry a folder for each file, named like the file.
        if match and path.is_file():
            yield path, match["stem"]


class BratsCases(VolumeSet):
    """Cases without labels, as in the validation sets, are left out. Folders such as HGG and LGG may lie between."""

    layout = "BraTS"
    source = "brats"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a label file has its four sequences beside it."""
        return any(_beside(path, stem) is not None for path, stem in _label_files(folder))

    def find_cases(self) -> Iterator[Case]:
        """Raises ValueError where a sequence of a labelled case is missing."""
        for labels, stem in _label_files(self.folder):
            found = _beside(labels, stem)
            if found is None:
                known = f"{', '.join(_OLD)} or {', '.join(_NEW.values())}"
                raise ValueError(f"{labels}: expected four sequences beside it, {known}")
            name = labels.parent.relative_to(self.folder).as_posix()
            scan = _SCAN.fullmatch(labels.parent.name)
            yield Case(name, scan[1] if scan else labels.parent.name, found[0], labels, found[1])


_CHANNELS: Final[Mapping[str, str]] = {"flair": "flair", "t1w": "t1", "t1gd": "t1ce", "t2w": "t2"}
_REGIONS: Final[Mapping[int, int]] = {0: 0, 1: 2, 2: 1, 3: 3}


def _description(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return content


class MsdBrainTumour(VolumeSet):
    """The labelled part; ``imagesTs`` has no labels and is left out."""

    layout = "MSD Task01"
    source = "msd"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether dataset.json lists training cases."""
        return (folder / "dataset.json").is_file() and bool(_description(folder).get("training"))

    def find_cases(self) -> Iterator[Case]:
        """Channels by the names that dataset.json gives them. Raises ValueError for one that is no sequence of ours."""
        about = _description(self.folder)
        names: Mapping[str, str] = about["modality"]
        unknown = sorted(name for name in names.values() if name.lower() not in _CHANNELS)
        if unknown:
            raise ValueError(f"{self.folder / 'dataset.json'}: unknown modality {unknown[0]!r}")
        channels = {_CHANNELS[name.lower()]: int(index) for index, name in names.items()}
        for entry in about["training"]:
            image, labels = self.folder / entry["image"], self.folder / entry["label"]
            name = image.name.removesuffix(".gz").removesuffix(".nii")
            yield Case(name, name, {key: (image, index) for key, index in channels.items()}, labels, _REGIONS)
