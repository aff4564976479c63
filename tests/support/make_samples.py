"""``python -m tests.support.make_samples`` makes the samples of the page and the documents anew, the same bit by bit.

It needs the template out of the package nilearn, which nothing else here needs; ``docs/samples/README.md`` says how.
No pixel comes from a patient: healthy people's average, painted and drawn.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import cv2
import nibabel as nib
import numpy as np

from tests.fixtures.images import ByteArray, to_jpeg
from tests.support.anatomy import SEQUENCES, FloatArray, Frame, Head, Sequence, Tumour, read_template, simulate

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = ROOT / "gateway" / "page" / "samples"
DOCUMENTED: Final = ROOT / "docs" / "samples" / "slice.jpg"
"""The first sample once more, as a JPEG under a name that does not change."""

GLIOMA: Final = Tumour("ring", centre=(22, 15, 24), radii=(21, 29, 20), swelling=8, push=8, seed=807)
MENINGIOMA: Final = Tumour("solid", centre=(56, -20, 36), radii=(18, 24, 20), swelling=5, push=8, seed=9)
SLICES: Final[Mapping[str, tuple[Tumour | None, float, Sequence]]] = {
    "glioma-like.png": (GLIOMA, 24, "t1ce"),
    "meningioma-like.png": (MENINGIOMA, 36, "t1ce"),
    "no-tumour.png": (None, 12, "flair"),
}
NO_HEAD: Final = "no-head.jpg"

_SLICE: Final = Frame(side=320, spacing=0.72)
_VOLUME: Final = Frame(side=96, spacing=2.0)
_LEVELS: Final = np.arange(-66, 80, _VOLUME.spacing)
# Fewer greys than a byte holds keep the four files below a megabyte.
_WHITE: Final = 127
_SEED: Final = 3


def slice_of(head: Head, name: str) -> ByteArray:
    """A sample slice (320, 320)."""
    tumour, z, sequence = SLICES[name]
    return _grey(simulate(head, z, tumour, _SLICE, skull=True, seed=_SEED)[sequence], 255)


def volumes_of(head: Head) -> dict[Sequence, bytes]:
    """The sample volume, a NIfTI file a sequence: the glioma-like lesion in a brain without its skull, in 2 mm."""
    slices = [simulate(head, float(z), GLIOMA, _VOLUME, skull=False, seed=_SEED) for z in _LEVELS]
    left, back, low = _VOLUME.points(float(_LEVELS[0]))[:, 0, 0]
    affine = np.diag([-_VOLUME.spacing, -_VOLUME.spacing, _VOLUME.spacing, 1.0])
    affine[:3, 3] = left, back, low
    files: dict[Sequence, bytes] = {}
    for name in SEQUENCES:
        voxels = np.stack([_grey(made[name], _WHITE).T for made in slices], axis=-1)
        image = nib.Nifti1Image(voxels, affine)
        image.header.set_xyzt_units("mm")
        files[name] = gzip.compress(image.to_bytes(), mtime=0)
    return files


def no_head() -> ByteArray:
    """A test card (512, 512) of bars and a grating: what the input check has to refuse."""
    side = 512
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    bars = np.floor(x / side * 8) / 7 * 255
    grating = 127 + 127 * np.sin(x * (0.02 + x / 4000))
    return np.asarray(np.where(y < side * 0.6, bars, grating), np.uint8)


def sample(name: str) -> ByteArray:
    """The pixels of a sample slice that is stored, (h, w)."""
    return np.asarray(cv2.imread(str(SAMPLES / name), cv2.IMREAD_GRAYSCALE), np.uint8)


def template() -> Head | None:
    """The template of the nilearn that is installed; none where none is."""
    package = find_spec("nilearn")
    if package is None or not package.submodule_search_locations:
        return None
    return read_template(Path(package.submodule_search_locations[0]) / "datasets" / "data")


def _grey(pixels: FloatArray, white: int) -> ByteArray:
    return np.rint(pixels * white).astype(np.uint8)


def main() -> None:
    """Write every sample. Raises SystemExit without nilearn."""
    head = template()
    if head is None:
        raise SystemExit("nilearn is not installed; docs/samples/README.md says how to call this with it.")
    for name in SLICES:
        cv2.imwrite(str(SAMPLES / name), slice_of(head, name), (cv2.IMWRITE_PNG_COMPRESSION, 9))
    for sequence, file in volumes_of(head).items():
        (SAMPLES / f"{sequence}.nii.gz").write_bytes(file)
    (SAMPLES / NO_HEAD).write_bytes(to_jpeg(no_head(), quality=90))
    DOCUMENTED.write_bytes(to_jpeg(sample(next(iter(SLICES))), quality=90))


if __name__ == "__main__":
    main()
