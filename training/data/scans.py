"""Whole scans for the volume segmenter: patients of slice sets as stacks of their slices, and cases of volume sets.

Of a slice set no voxel size is known. Its stacks get a nominal one (docs/adr/0013): pixels of ``STACK_PIXEL_MM``, and
slices that share ``STACK_COVERAGE_MM`` evenly, since nearly every series runs from the base of the skull to the vertex,
in whatever number of slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.imaging.preparation.volume_transforms import VolumeSpec, prepare_volume
from core.imaging.volume import Affine, Volume
from training.data.archives import BoolArray, FloatArray, UInt8Array, cached, to_uint8
from training.data.brats_2018 import Brats2018
from training.data.cases import BratsCases, Case, VolumeSet, read_volume
from training.data.multisequence import SequenceSlice
from training.data.outlined import lgg_rows, read_lgg
from training.data.own import is_own, own_data, own_key, own_outlined
from training.data.published import LggTable
from training.data.samples import Sample

REGIONS: Final = ("whole_tumor", "tumor_core", "enhancing_tumor")
"""Nested: each holds the next. A scan knows the first of them, or all."""

STACK_PIXEL_MM: Final = 1.0
STACK_COVERAGE_MM: Final = 160.0
LGG: Final = "TCGA-LGG stacks"
BRATS: Final = "BraTS 2021"
BRATS_2018: Final = "BraTS 2018"
OWN: Final = "own volumes"
OWN_STACKS: Final = "own slices, stacked"
# BraTS cases that are never trained on: both have all three regions. There are too few for a validation split.
HELD_OUT: Final = frozenset({"BraTS2021_01476_native", "BraTS2021_01485"})
# By so many a histogram is known, of a sample of voxels that lie so many apart.
QUANTILES: Final = 65
_SAMPLED: Final = 3
# Voxels of a scan's tumour that patches are centred on.
_PLACES: Final = 4096
# How much each of ``REGIONS`` teaches where its label can be relied on ...
_SURE: Final = (1.0, 1.0, 1.0)
# ... and where what is labelled as enhancing is not bright after contrast: the core around it is right all the same.
_WEAK: Final = (1.0, 1.0, 0.25)


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """``sequences`` on one grid, float32; ``regions`` bool (r, i, j, k) are the first r of ``REGIONS``, 1 or all."""

    sequences: Mapping[str, Volume]
    regions: BoolArray


@dataclass(frozen=True)
class Scan:
    """A scan that ``read`` reads. ``key`` tells its prepared arrays from those of other files.

    ``patient`` is the same for all scans of one patient, in whatever set; ``site`` is where it was made, where that is
    known; ``teaches`` weighs each of ``REGIONS`` in training, where the scan knows it.
    """

    name: str
    patient: str
    data_set: str
    key: Mapping[str, Any]
    read: Callable[[], LabelledScan]
    site: str = ""
    teaches: tuple[float, ...] = _SURE


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan as the network is shown it.

    ``images`` uint8 (4, i, j, k) in the order of ``VolumeSpec.sequences``, absent ones 0; ``regions`` uint8 (r, i, j,
    k), the share of each working voxel in the first r of ``REGIONS``, of 255; ``places`` (n, 3), voxels inside the
    whole tumour, a few thousand at most; ``teaches`` as in ``Scan``.
    """

    images: UInt8Array
    regions: UInt8Array
    places: npt.NDArray[np.intp]
    teaches: tuple[float, ...] = _SURE

    @property
    def present(self) -> BoolArray:
        """bool (4,): sequences that show anything."""
        return np.asarray(self.images.any(axis=(1, 2, 3)))

    @cached_property
    def quantiles(self) -> FloatArray:
        """float32 (4, ``QUANTILES``) of the greys of each sequence in the head, in [0, 1]; all 0 for an absent one.

        They rise strictly, so that each grey has one place.
        """
        found = np.zeros((len(self.images), QUANTILES), np.float32)
        for quantiles, image in zip(found, self.images, strict=True):
            sample = image[::_SAMPLED, ::_SAMPLED, ::_SAMPLED]
            shown = sample[sample > 0]
            if shown.size:
                quantiles[:] = np.quantile(shown, np.linspace(0, 1, QUANTILES)) / 255 + np.arange(QUANTILES) * 1e-5
        return found

    @property
    def known(self) -> FloatArray:
        """float32 (3,): how much each of ``REGIONS`` teaches, 0 where the scan does not know it."""
        return np.where(np.arange(len(REGIONS)) < len(self.regions), self.teaches, 0).astype(np.float32)


def nested(codes: UInt8Array) -> BoolArray:
    """Regions bool (3, i, j, k) of codes (i, j, k): 1 necrotic or non-enhancing core, 2 oedema, 3 enhancing."""
    return np.stack([codes > 0, (codes == 1) | (codes == 3), codes == 3])


def stack_affine(slices: int) -> Affine:
    """Of a stack (column, row, slice) whose images have the face up and the patient's left on the right, lowest first.

    Columns run to the patient's left, rows to the back, slices upwards.
    """
    return np.diag([-STACK_PIXEL_MM, -STACK_PIXEL_MM, STACK_COVERAGE_MM / slices, 1.0])


def stacked(slices: Sequence[SequenceSlice]) -> LabelledScan:
    """A patient's slices, lowest first, as one scan. Raises ValueError where they differ in size or sequences."""
    affine = stack_affine(len(slices))

    def stack(images: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(np.stack([image.T for image in images], axis=-1))

    if len({tuple(item.sequences) for item in slices}) != 1:
        raise ValueError(f"{slices[0].patient}: slices with different sequences do not make a volume")
    sequences = {name: Volume(stack(item.sequences[name] for item in slices), affine) for name in slices[0].sequences}
    return LabelledScan(sequences, stack(item.mask for item in slices)[None])


def _stacks(data: Path, split: str) -> Iterator[Scan]:
    for patient, group in groupby(lgg_rows(data, split), key=lambda row: row.unit):
        rows = tuple(group)
        key = {"images": [row.name for row in rows]} | own_key(data)
        read = partial(_read_stack, data, rows)
        if is_own(data):
            yield Scan(patient, patient, OWN_STACKS, key, read)
        else:
            # TCGA-SITE-PATIENT, with the date of the scan.
            yield Scan(patient, patient, LGG, key, read, patient.split("_")[1] if "_" in patient else "")


def _read_stack(data: Path, rows: Sequence[Sample]) -> LabelledScan:
    return stacked(list(read_lgg(data, rows)))


def _read_case(case: Case) -> LabelledScan:
    volume = read_volume(case)
    x, y, z = volume.spacing_mm
    affine = np.diag([-x, -y, z, 1.0])
    return LabelledScan({name: Volume(grey, affine) for name, grey in volume.sequences.items()}, nested(volume.regions))


def _scan(case: Case, data_set: str) -> Scan:
    files = [path for path, _ in case.images.values()] + [case.labels]
    key = {"files": [[str(path.resolve()), path.stat().st_size] for path in files]}
    return Scan(case.name, case.patient, data_set, key, partial(_read_case, case))


def _cases(cases: Iterable[Case], data_set: str) -> Iterator[Scan]:
    yield from (_scan(case, data_set) for case in cases)


def _brats(data: Path, split: str) -> Iterator[Scan]:
    folder = data / "brats"
    if split == "val" or not folder.is_dir() or not BratsCases.recognises(folder):
        return
    cases = BratsCases(folder).cases.values()
    yield from _cases((case for case in cases if (case.name in HELD_OUT) == (split == "test")), BRATS)


def _brats_2018(data: Path, split: str) -> Iterator[Scan]:
    folder = data / "brats2018"
    if not Brats2018.recognises(folder):
        return
    for case, row in Brats2018(folder).of_split(split):
        weak = row.get("weak_enhancing_label") == "1"
        yield replace(_scan(case, BRATS_2018), site=row.get("site", ""), teaches=_WEAK if weak else _SURE)


def scans(data: Path, split: str) -> list[Scan]:
    """Every scan of a split: LGG patients and BraTS cases, or those of a user's own folder. None of them is read yet.

    BraTS 2021 cases are in ``train``, but for ``HELD_OUT``, which are ``test``; those of BraTS 2018 are where their
    table has them. Raises ValueError where an own folder has no such split.
    """
    if not is_own(data):
        return [
            *(_stacks(data, split) if LggTable.recognises(data) else ()),
            *_brats(data, split),
            *_brats_2018(data, split),
        ]
    data_set = own_data(data)
    if not isinstance(data_set, VolumeSet):
        return list(_stacks(data, split))
    wanted = dict.fromkeys(sample.image for sample in own_outlined(data, split))
    return list(_cases((data_set.cases[name] for name in wanted), OWN))


def prepared(scan: Scan, spec: VolumeSpec) -> PreparedScan:
    """A scan through the serving transform, once: the arrays are cached."""

    def build() -> dict[str, npt.NDArray[Any]]:
        labelled = scan.read()
        volume = prepare_volume(labelled.sequences, spec)
        shares = [volume.space.extract(region.astype(np.float32)) for region in labelled.regions]
        regions = to_uint8(np.stack(shares))
        tumour = np.argwhere(regions[0] > 127)
        places = tumour[:: max(1, -(-len(tumour) // _PLACES))]
        return {"images": to_uint8(volume.tensor), "regions": regions, "places": places}

    key = {"spec": str(spec), "name": scan.name, "pixel": STACK_PIXEL_MM, "coverage": STACK_COVERAGE_MM, **scan.key}
    arrays = cached(f"scan-{scan.name.replace('/', '-')}", key, build)
    return PreparedScan(arrays["images"], arrays["regions"], np.asarray(arrays["places"]), scan.teaches)
