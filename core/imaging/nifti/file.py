"""NIfTI-1 and NIfTI-2, gzip or not: to a volume, and back onto the same grid."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from core.contracts.nifti import NiftiGeometry, NiftiHeader, check_extensions, header_size, parse_header
from core.contracts.volume_limits import VolumeLimits
from core.errors import UnusableVolume
from core.imaging.nifti.geometry import geometry_of
from core.imaging.nifti.lost import fill_lost
from core.imaging.nifti.source import NiftiSource, Readable
from core.imaging.volume import FloatArray, Volume

DEFAULT_LIMITS: Final = VolumeLimits()
# Voxels are converted in pieces of this many, so that reading needs little more memory than its result.
_PIECE: Final = 1 << 20
# Beyond this, sums over a volume would leave float32.
_LARGEST: Final = 1e30
# NIFTI_INTENT_LABEL: the values are names, not measurements, so viewers do not interpolate them.
_INTENT_LABEL: Final = 1002
_DESCRIPTION: Final = b"Falx. Research use only."
_COMPRESSION: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class NiftiVolume:
    """A file's ``volume`` (float32, scaled), the ``geometry`` to write results on, and what was noticed."""

    volume: Volume
    geometry: NiftiGeometry
    warnings: tuple[str, ...]


def read_nifti(file: Readable, limits: VolumeLimits = DEFAULT_LIMITS) -> NiftiVolume:
    """The volume in a file, read from front to back; memory is that of the result and a few megabytes.

    Values are ``scl_slope * stored + scl_inter``. Those that are not finite are looked at together, which takes more
    memory (see ``fill_lost``). The geometry has both forms afresh where tools would not agree on the header's own.

    Raises ``InvalidNifti`` for a header that lies and a file that is cut off or broken, ``UnusableVolume`` for several
    frames, colours, complex numbers, a single value everywhere and values in the head that are not finite,
    ``TooFewSlices``, ``InputTooLarge`` before anything is allocated, ``DecompressionBomb`` for a gzip file that goes on
    behind its voxels. No detail quotes the file.
    """
    source = NiftiSource(file, limits)
    start = source.take(4)
    block = start + source.take(header_size(start) - 4)
    header = parse_header(block, limits)
    check_extensions(source.take(header.offset - len(block)), block)
    voxels, lost = _read_voxels(source, header)
    source.finish()
    warnings = header.warnings
    if lost:
        fill_lost(voxels)
        warnings += (
            f"{lost} voxels hold no finite number of reasonable size; they belong to the background around the head"
            " and are taken as the smallest value of the volume.",
        )
    if float(voxels.min()) == float(voxels.max()):
        raise UnusableVolume("All voxels have the same value.")
    volume = Volume(voxels, np.asarray(header.affine))
    return NiftiVolume(volume, header.geometry or geometry_of(volume.grid, header.form_code), warnings)


def _read_voxels(source: NiftiSource, header: NiftiHeader) -> tuple[FloatArray, int]:
    """Values (i, j, k) in Fortran order, as the file keeps them, and how many are NaN because they were no numbers."""
    count, lost, dtype = math.prod(header.shape), 0, np.dtype(header.dtype)
    values = np.empty(count, np.float32)
    for start in range(0, count, _PIECE):
        piece = values[start : start + _PIECE]
        stored = np.frombuffer(source.take(piece.size * dtype.itemsize), dtype)
        lost += _convert(stored, header.scaling, piece)
    return values.reshape(header.shape, order="F"), lost


def _convert(stored: npt.NDArray[Any], scaling: tuple[float, float] | None, out: FloatArray) -> int:
    """Scaled values into ``out``; returns how many were not finite and became NaN."""
    if scaling is None and stored.dtype.kind in "iu":
        out[:] = stored
        return 0
    # Overflow is what the next lines look for.
    with np.errstate(over="ignore", invalid="ignore"):
        slope, intercept = scaling or (1.0, 0.0)
        out[:] = stored if scaling is None else stored.astype(np.float64) * slope + intercept
        sound = np.abs(out) <= _LARGEST
    out[~sound] = np.nan
    return int(out.size - np.count_nonzero(sound))


def write_nifti(
    file: BinaryIO,
    voxels: npt.NDArray[Any],
    geometry: NiftiGeometry,
    *,
    labels: bool = True,
    window: tuple[float, float] | None = None,
) -> None:
    """``voxels`` (i, j, k), uint8 or float32, as ``.nii.gz`` on ``geometry``, slice by slice.

    With ``labels`` uint8 voxels are declared to be labels. ``window`` is what viewers show as black and as white.
    The same voxels give the same bytes: no time and no file name goes into the gzip header.
    """
    i, j, k = voxels.shape
    others: dict[str, Any] = {"descrip": _DESCRIPTION}
    if labels and voxels.dtype == np.uint8:
        others["intent_code"] = _INTENT_LABEL
    if window is not None:
        others["cal_min"], others["cal_max"] = window
    header = geometry.header((i, j, k), voxels.dtype.str[1:], **others)
    with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as sink:
        sink.write(header)
        for index in range(k):
            sink.write(voxels[:, :, index].tobytes(order="F"))
