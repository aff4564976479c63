"""The case that is measured: a synthetic head in four sequences, and bundles that run a network on it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import nibabel
import numpy as np
import numpy.typing as npt

from core.contracts.manifest import BundleFile, Manifest, Variant, VolumePreprocessing
from core.contracts.regions import CHANNELS
from core.contracts.sequences import SEQUENCES
from core.imaging.volume import Shape, Spacing, Volume

SHAPE: Final[Shape] = (240, 240, 155)
"""Voxels of 1 mm, as the cases of the BraTS challenge have."""

# Half the extent of the brain in mm to the right, anterior and superior: 138 x 172 x 140 mm.
_HALF_MM: Final = (69.0, 86.0, 70.0)
# Centre in mm from the brain's and radii of the oedema, the core in it and the necrosis in that.
_LESION_MM: Final = (24.0, 14.0, 12.0)
_RADII_MM: Final = (24.0, 15.0, 9.0)
# Grey values of brain, oedema, enhancing rim and necrosis in each sequence.
_GREY: Final[Mapping[str, tuple[float, float, float, float]]] = {
    "t1": (500.0, 400.0, 420.0, 250.0),
    "t1ce": (500.0, 420.0, 950.0, 280.0),
    "t2": (420.0, 780.0, 700.0, 900.0),
    "flair": (420.0, 850.0, 700.0, 500.0),
}
# Spacings are rounded to this many digits of a mm: factors such as 0.667 are rounded themselves.
_DIGITS: Final = 2


@dataclass(frozen=True, slots=True)
class Network:
    """A graph file, the name of its architecture, the windows and voxels that it works on, and its int8 file if any."""

    path: Path
    architecture: str
    preprocessing: VolumePreprocessing
    int8: Path | None = None


def make_case(shape: Shape = SHAPE, seed: int = 0) -> dict[str, Volume]:
    """A skull-stripped brain with one lesion, int16 (i, j, k) in voxels of 1 mm that run right, anterior, superior."""
    affine = np.eye(4)
    affine[:3, 3] = -(np.asarray(shape) - 1) / 2
    # Smaller volumes show a smaller head.
    scale = min(1.0, *(size / whole for size, whole in zip(shape, SHAPE, strict=True)))
    axes = [np.arange(size, dtype=np.float32) - (size - 1) / 2 for size in shape]
    inside = _ball(axes, (0.0, 0.0, 0.0), [scale * half for half in _HALF_MM])
    centre = [scale * mm for mm in _LESION_MM]
    tissue = np.zeros(shape, np.uint8)
    for label, radius in enumerate(_RADII_MM, start=1):
        tissue[_ball(axes, centre, [scale * radius] * 3)] = label
    random = np.random.default_rng(seed)
    case = {}
    for name in SEQUENCES:
        grey = np.asarray(_GREY[name], np.float32)[tissue]
        grey += random.standard_normal(shape, np.float32) * 20
        case[name] = Volume(np.where(inside, grey, 0).astype(np.int16), affine)
    return case


def _ball(
    axes: list[npt.NDArray[np.float32]], centre: list[float] | tuple[float, ...], radii: list[float]
) -> npt.NDArray[np.bool_]:
    i, j, k = (((axis - at) / radius) ** 2 for axis, at, radius in zip(axes, centre, radii, strict=True))
    inside: npt.NDArray[np.bool_] = i[:, None, None] + j[:, None] + k < 1
    return inside


def write_case(folder: Path, case: Mapping[str, Volume]) -> dict[str, Path]:
    """Each sequence as a compressed NIfTI file; paths by the names that a job has for them."""
    files = {}
    for name, volume in case.items():
        path = folder / f"{name}.nii.gz"
        image = nibabel.Nifti1Image(volume.voxels, volume.affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)
        files[path.name] = path
    return files


def spacing_of(preprocessing: VolumePreprocessing) -> Spacing:
    """Working spacing in mm to the right, anterior and superior. Raises ValueError where it is the input's own."""
    if preprocessing.spacing_mm is None:
        raise ValueError("a network that works in the input's own voxels has no spacing to compare at")
    return preprocessing.spacing_mm


def finer(network: Network, factor: float) -> Network:
    """The same network in voxels that are ``factor`` times as long along each axis."""
    i, j, k = (round(factor * mm, _DIGITS) for mm in spacing_of(network.preprocessing))
    return replace(network, preprocessing=network.preprocessing.model_copy(update={"spacing_mm": (i, j, k)}))


def write_bundle(models: Path, network: Network) -> None:
    """The network as the bundle ``models``/tumor-volume/1."""
    folder = models / "tumor-volume" / "1"
    folder.mkdir(parents=True)
    files = [_bundle_file(network.path, folder / "model.onnx", "reference")]
    if network.int8 is not None:
        files.append(_bundle_file(network.int8, folder / "model.int8.onnx", "int8"))
    manifest = Manifest(
        name="tumor-volume",
        version="1",
        task="volume-segmentation",
        architecture=network.architecture,
        title="Network of the benchmark of volumes",
        files=tuple(files),
        preprocessing=network.preprocessing,
        labels=tuple(CHANNELS),
        licence="Written for one run of a benchmark.",
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())


def _bundle_file(source: Path, target: Path, variant: Variant) -> BundleFile:
    """A graph copied into a bundle."""
    shutil.copyfile(source, target)
    data = source.read_bytes()
    return BundleFile(
        name=target.name,
        sha256=hashlib.sha256(data).hexdigest(),
        variant=variant,
        size_bytes=len(data),
        passes_gate=True,
    )
