"""What a NIfTI header says, judged before a voxel is read. Nothing in it is believed without a look.

Layout: NIfTI-1 https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h, NIfTI-2 nifti2.h beside it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from core.errors import InvalidNifti, TooFewSlices, UnusableVolume
from core.imaging.volume import Affine, Grid, Shape
from core.imaging.volume_limits import VolumeLimits

# By the value of sizeof_hdr, which begins every header and gives away the byte order.
_VERSIONS: Final = {348: (1, b"n+1\0"), 540: (2, b"n+2\0\r\n\x1a\n")}
# nibabel annotates only some of their methods.
_HEADERS: Final[dict[int, Any]] = {1: Nifti1Header, 2: Nifti2Header}
_PAIRS: Final = (b"ni1\0", b"ni2\0\r\n\x1a\n")
_DTYPES: Final = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_MM_PER_UNIT: Final = {1: 1_000.0, 2: 1.0, 3: 0.001}
# Scaling beyond this leaves float32.
_LARGEST: Final = 1e30
# Origins and corners that two statements of one header may differ by.
_AGREEMENT_MM: Final = 0.1
# Tools round pixdim; more than this share is a contradiction.
_SPACING_AGREEMENT: Final = 0.01
# Fields that say where voxels lie, and nothing else: no name, description or date is among them.
_GEOMETRY: Final = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class NiftiGeometry:
    """The spatial fields of a header, to write further volumes that lie exactly where the first one does."""

    version: int
    fields: dict[str, Any]

    @classmethod
    def of(cls, grid: Grid) -> NiftiGeometry:
        """For a grid that comes from elsewhere: NIfTI-1, scanner coordinates, mm."""
        header = _HEADERS[1]()
        header.set_data_shape(grid.shape)
        header.set_qform(grid.affine, code=1)
        header.set_sform(grid.affine, code=1)
        header.set_xyzt_units("mm")
        return cls._from(1, header)

    @classmethod
    def _from(cls, version: int, header: Any) -> NiftiGeometry:
        fields = {name: header[name].copy() for name in _GEOMETRY}
        return cls(version, {**fields, "pixdim": header["pixdim"][:4].copy()})

    def header(self, shape: Shape, dtype: npt.DTypeLike) -> Any:
        """A fresh little-endian header of ``shape`` and ``dtype`` on this geometry; nothing else is carried over."""
        header = _HEADERS[self.version]()
        header.set_data_dtype(dtype)
        header.set_data_shape(shape)
        for name in _GEOMETRY:
            header[name] = self.fields[name]
        header["pixdim"][:4] = self.fields["pixdim"]
        header["scl_slope"], header["scl_inter"] = 1, 0
        return header


@dataclass(frozen=True, slots=True, eq=False)
class NiftiHeader:
    """A judged header: everything that reading the voxels needs.

    ``offset`` is where the voxels begin, in bytes of the (inflated) file; ``affine`` leads to RAS+ mm, ``scaling`` is
    (slope, intercept) or None.
    """

    shape: Shape
    dtype: np.dtype[Any]
    offset: int
    scaling: tuple[float, float] | None
    affine: Affine
    geometry: NiftiGeometry
    warnings: tuple[str, ...]


def header_size(start: bytes) -> int:
    """Bytes of the header that a file beginning with ``start`` (4 bytes) has; raises ``InvalidNifti``."""
    return _recognised(start)[0]


def _recognised(start: bytes) -> tuple[int, str]:
    for order in "<>":
        (size,) = struct.unpack(f"{order}i", start[:4])
        if size in _VERSIONS:
            return size, order
    raise InvalidNifti("The file is not NIfTI: it does not begin with the size of a NIfTI header.")


def parse_header(block: bytes, limits: VolumeLimits) -> NiftiHeader:
    """A header block of ``header_size`` bytes, judged.

    Raises ``InvalidNifti``, ``UnusableVolume`` (several frames, colour), ``TooFewSlices`` or ``InputTooLarge``.
    """
    size, order = _recognised(block)
    version, magic = _VERSIONS[size]
    header = _HEADERS[version](block, endianness=order, check=False)
    _check_magic(block, version, magic)
    shape = _shape(header)
    limits.check_shape(shape)
    # Nonsense overflows or is no number; what comes of it is judged, numpy need not remark on it.
    with np.errstate(all="ignore"):
        affine, warnings = _affine(header, limits, shape)
    return NiftiHeader(
        shape=shape,
        dtype=_dtype(header, order),
        offset=_offset(header, size, limits),
        scaling=_scaling(header),
        affine=affine,
        geometry=NiftiGeometry._from(version, header),
        warnings=warnings,
    )


def check_extensions(area: bytes, header: bytes) -> None:
    """Walk the extensions in everything between header and voxels; raises ``InvalidNifti`` where they do not fit in.

    ``area`` begins with the four bytes that say whether there are any; ``header`` is the block before it.
    """
    _, order = _recognised(header)
    if not area[:1].strip(b"\0"):
        return
    at = 4
    # A writer may leave less than one extension's head of padding behind the last one.
    while at + 8 <= len(area):
        (size,) = struct.unpack_from(f"{order}i", area, at)
        if size < 8 or at + size > len(area):
            raise InvalidNifti("The extensions of the header do not fit between header and voxels.")
        at += size


def _check_magic(block: bytes, version: int, magic: bytes) -> None:
    found = block[344:348] if version == 1 else block[4:12]
    if found in _PAIRS:
        raise InvalidNifti("The file is the header of a .hdr/.img pair; send one .nii or .nii.gz file.")
    if found != magic:
        raise InvalidNifti(f"The file is not NIfTI-{version}: its magic string is missing.")


def _shape(header: Any) -> Shape:
    rank, *sizes = (int(value) for value in header["dim"])
    if not 1 <= rank <= 7:
        raise InvalidNifti(f"dim[0] is {rank}, it counts the dimensions and is 1 to 7.")
    sizes = sizes[:rank]
    if min(sizes) < 1:
        raise InvalidNifti(f"dim[{sizes.index(min(sizes)) + 1}] is {min(sizes)}: there are no voxels.")
    if rank < 3:
        raise TooFewSlices("The file holds one slice, a volume is needed.")
    frames = math.prod(sizes[3:])
    if frames > 1:
        raise UnusableVolume(f"The file holds {frames} frames, one is needed.")
    return sizes[0], sizes[1], sizes[2]


def _dtype(header: Any, order: str) -> np.dtype[Any]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    name = _DTYPES.get(code)
    if name is None:
        raise UnusableVolume(f"The datatype code is {code}; integers of 8 to 64 bits and floats of 32 or 64 are read.")
    dtype = np.dtype(f"{order}{name}")
    if bits != dtype.itemsize * 8:
        raise InvalidNifti(f"bitpix is {bits}, voxels of datatype {code} have {dtype.itemsize * 8} bits.")
    return dtype


def _offset(header: Any, size: int, limits: VolumeLimits) -> int:
    offset = float(header["vox_offset"])
    first = size + 4
    if not math.isfinite(offset) or offset != int(offset) or offset < first:
        raise InvalidNifti(f"vox_offset must be a whole number of at least {first}.")
    if offset > first + limits.max_extension_bytes:
        raise InvalidNifti(f"vox_offset leaves more than {limits.max_extension_bytes} bytes before the voxels.")
    return int(offset)


def _scaling(header: Any) -> tuple[float, float] | None:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # The standard: 0 is "not scaled". Writers of float files put NaN there.
    if slope == 0 or math.isnan(slope):
        return None
    if not (abs(slope) <= _LARGEST and abs(intercept) <= _LARGEST):
        raise InvalidNifti("scl_slope or scl_inter is not a number of reasonable size.")
    return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)


def _affine(header: Any, limits: VolumeLimits, shape: Shape) -> tuple[Affine, tuple[str, ...]]:
    """The affine in mm and what there is to say of it: sform before qform, as the standard's methods 3 and 2 ask."""
    unit = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    pixdim = np.asarray(header["pixdim"][1:4], np.float64) * unit
    _check_spacing(pixdim, limits)
    stated, faults = {}, {}
    for name, read in (("sform", _sform), ("qform", _qform)):
        if int(header[f"{name}_code"]) > 0:
            affine = _in_mm(read(header), unit)
            faults[name] = limits.fault_of(affine)
            if faults[name] is None:
                stated[name] = affine
    if stated:
        return _chosen(stated, faults, pixdim, shape)
    for name, fault in faults.items():
        raise InvalidNifti(f"The {name} {fault}.")
    return _in_mm(header.get_base_affine(), unit), (
        "The header does not say how the volume lies (qform_code and sform_code are 0): its axes are taken as left,"
        " anterior, superior. Left and right in the results may be exchanged.",
    )


def _chosen(
    stated: dict[str, Affine], faults: dict[str, str | None], pixdim: npt.NDArray[np.float64], shape: Shape
) -> tuple[Affine, tuple[str, ...]]:
    name, affine = next(iter(stated.items()))
    warnings = [f"The {other} {fault}; the {name} is used." for other, fault in faults.items() if fault]
    if len(stated) == 2:
        corners = [Grid(shape, one).corners_mm() for one in stated.values()]
        if np.abs(corners[0] - corners[1]).max() > _AGREEMENT_MM:
            warnings.append("The qform and the sform of the header differ; the sform is used.")
    if not np.allclose(Grid(shape, affine).spacing_mm, pixdim, rtol=_SPACING_AGREEMENT, atol=0):
        warnings.append(f"The voxel spacing in pixdim differs from that of the {name}, which is used.")
    return affine, tuple(warnings)


def _check_spacing(spacing: npt.NDArray[np.float64], limits: VolumeLimits) -> None:
    low, high = limits.min_spacing_mm, limits.max_spacing_mm
    # Written so that NaN fails as well.
    if not ((spacing >= low) & (spacing <= high)).all():
        raise InvalidNifti(f"pixdim holds a voxel spacing that is not a number from {low} to {high} mm.")


def _sform(header: Any) -> Affine:
    return np.asarray(header.get_sform(), np.float64)


def _qform(header: Any) -> Affine:
    header = header.copy()
    # 0 stands for 1 in pixdim[0], says the standard.
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1
    try:
        return np.asarray(header.get_qform(), np.float64)
    except (ValueError, HeaderDataError) as error:
        raise InvalidNifti("The qform is broken: pixdim[0] must be -1 or 1, the quaternion a rotation.") from error


def _in_mm(affine: Affine, unit: float) -> Affine:
    scaled = np.array(affine, np.float64)
    scaled[:3] *= unit
    return scaled
