"""Figshare slices as published (Cheng 2017): one MATLAB 7.3 file a slice, which is HDF5, with the struct ``cjdata``.

``label`` is 1 meningioma, 2 glioma, 3 pituitary; ``PID`` the patient; ``image`` int16 and ``tumorMask`` lie column by
column, as MATLAB stores them, so both are turned. ``cvind.mat``, the authors' five folds, has no slice and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from training.data.samples import DataSet, Pixels, Sample

SEQUENCE: Final = "t1ce"
LABELS: Final = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_FILES = "[0-9]*.mat"


def _struct(path: Path) -> Any:
    """The open file's ``cjdata``. Raises ValueError where the file is none of the set's."""
    import h5py  # comes with training/requirements.txt; the other layouts are read without it

    try:
        return h5py.File(path)["cjdata"]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: expected a MATLAB 7.3 file with the struct cjdata") from error


class FigshareMat(DataSet):
    """T1 post-contrast slices with the outline of the tumour."""

    layout = "Figshare .mat"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether there are numbered .mat files."""
        return next(folder.rglob(_FILES), None) is not None

    def describe(self) -> Iterator[Sample]:
        """Label and patient of every file."""
        for path in self.folder.rglob(_FILES):
            struct = _struct(path)
            with struct.file:
                code = int(np.asarray(struct["label"]).item())
                patient = "".join(map(chr, np.asarray(struct["PID"]).ravel().tolist()))
            if code not in LABELS:
                raise ValueError(f"{path}: label {code} is none of {', '.join(map(str, LABELS))}")
            name = path.relative_to(self.folder).as_posix()
            yield Sample(name, (SEQUENCE,), "figshare", LABELS[code], mask=name, patient=patient)

    def pixels(self, samples: Iterable[Sample]) -> Iterator[Pixels]:
        """Each slice from 0 to its own brightest pixel: int16 values have no common scale.

        Raises ValueError for a file whose image holds NaN or infinity.
        """
        for sample in samples:
            struct = _struct(self.folder / sample.image)
            with struct.file:
                image = np.asarray(struct["image"], np.float32).T
                mask = np.asarray(struct["tumorMask"]).T > 0
            if not np.isfinite(image).all():
                raise ValueError(f"{self.folder / sample.image}: the image holds values that are no finite numbers")
            brightest = np.float32(max(float(image.max()), 1.0))
            grey = np.ascontiguousarray(np.clip(image / brightest, 0, 1))
            yield Pixels({SEQUENCE: grey}, np.ascontiguousarray(mask))
