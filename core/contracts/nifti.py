"""What a NIfTI header says, judged before a voxel is read. Nothing in it is believed without a look.

The gateway judges uploads with it at the door, and the worker the files that it reads: one opinion, and no library for
images in the process that faces the network. Where the voxels lie is judged in ``nifti_forms``.

Layout and forms: NIfTI-1 https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h, NIfTI-2 nifti2.h beside it.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from core.contracts.nifti_forms import Rows, Shape, read_forms
from core.contracts.nifti_strangers import what_it_is
from core.contracts.volume_limits import VolumeLimits
from core.errors import InvalidNifti, TooFewSlices, UnusableVolume

# Fields in their order, each with its format as ``struct`` has it.
_NIFTI_1: Final = {
    "sizeof_hdr": "i", "data_type": "10s", "db_name": "18s", "extents": "i", "session_error": "h", "regular": "1s",
    "dim_info": "B", "dim": "8h", "intent_p": "3f", "intent_code": "h", "datatype": "h", "bitpix": "h",
    "slice_start": "h", "pixdim": "8f", "vox_offset": "f", "scl_slope": "f", "scl_inter": "f", "slice_end": "h",
    "slice_code": "B", "xyzt_units": "B", "cal_max": "f", "cal_min": "f", "slice_duration": "f", "toffset": "f",
    "glmax": "i", "glmin": "i", "descrip": "80s", "aux_file": "24s", "qform_code": "h", "sform_code": "h",
    "quatern": "3f", "qoffset": "3f", "srow": "12f", "intent_name": "16s", "magic": "4s",
}  # fmt: skip
_NIFTI_2: Final = {
    "sizeof_hdr": "i", "magic": "8s", "datatype": "h", "bitpix": "h", "dim": "8q", "intent_p": "3d", "pixdim": "8d",
    "vox_offset": "q", "scl_slope": "d", "scl_inter": "d", "cal_max": "d", "cal_min": "d", "slice_duration": "d",
    "toffset": "d", "slice_start": "q", "slice_end": "q", "descrip": "80s", "aux_file": "24s", "qform_code": "i",
    "sform_code": "i", "quatern": "3d", "qoffset": "3d", "srow": "12d", "slice_code": "i", "xyzt_units": "i",
    "intent_code": "i", "intent_name": "16s", "dim_info": "B", "unused": "15s",
}  # fmt: skip
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
_PAIRS: Final = (b"ni1\0", b"ni2\0\r\n\x1a\n")
# Scaling beyond this leaves float32.
_LARGEST: Final = 1e30
# Fields that say where voxels lie, and nothing else: no name, description or date is among them.
_GEOMETRY: Final = ("qform_code", "sform_code", "quatern", "qoffset", "srow", "xyzt_units")


class _Layout(NamedTuple):
    """A version of NIfTI. A quaternion whose square is above 1 by no more than ``rounding`` is one of half a turn."""

    version: int
    magic: bytes
    rounding: float
    fields: Mapping[str, str]

    def unpack(self, block: bytes, order: str) -> dict[str, Any]:
        values = iter(struct.unpack(order + "".join(self.fields.values()), block))
        return {
            name: next(values) if _single(form) else tuple(itertools.islice(values, int(form[:-1])))
            for name, form in self.fields.items()
        }

    def pack(self, values: Mapping[str, Any]) -> bytes:
        """Little-endian; what is not among ``values`` is 0."""
        flat: list[Any] = []
        for name, form in self.fields.items():
            if _single(form):
                flat.append(values.get(name, b"" if form.endswith("s") else 0))
            else:
                flat.extend(values.get(name, [0] * int(form[:-1])))
        return struct.pack("<" + "".join(self.fields.values()), *flat)


def _single(form: str) -> bool:
    return len(form) == 1 or form.endswith("s")


# By the value of sizeof_hdr, which begins every header and gives away the byte order. The roundings are three times
# the precision of the numbers that quaternions are kept in.
_LAYOUTS: Final = {
    348: _Layout(1, b"n+1\0", 3 * 2.0**-23, _NIFTI_1),
    540: _Layout(2, b"n+2\0\r\n\x1a\n", 3 * 2.0**-52, _NIFTI_2),
}
LONGEST_HEADER: Final = max(_LAYOUTS)
"""Bytes that are enough to judge a file of either version by."""


@dataclass(frozen=True, slots=True)
class NiftiGeometry:
    """The spatial fields of a header, to write further volumes that lie exactly where the first one does.

    Headers are NIfTI-1, which every tool reads; SimpleITK does not read NIfTI-2.
    """

    fields: Mapping[str, Any]

    def header(self, shape: Shape, dtype: str, **others: Any) -> bytes:
        """A fresh little-endian header of ``shape`` and ``dtype`` ("u1", "f4" ...) on this geometry, and its end.

        The end are four bytes that say "no extensions": voxels follow. Nothing but ``others``, fields by name, is
        added to the geometry.
        """
        size, layout = next(iter(_LAYOUTS.items()))
        values = {
            "sizeof_hdr": size,
            "magic": layout.magic,
            "dim": (3, *shape, 1, 1, 1, 1),
            "datatype": next(code for code, name in _DTYPES.items() if name == dtype),
            "bitpix": 8 * int(dtype[1:]),
            "vox_offset": size + 4,
            "scl_slope": 1,
            **self.fields,
            "pixdim": (*self.fields["pixdim"], 1, 1, 1, 1),
            **others,
        }
        return layout.pack(values) + bytes(4)


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """A judged header: everything that reading the voxels needs.

    ``dtype`` is the type of a voxel, byte order included, as numpy names it ("<i2"). ``offset`` is where the voxels
    begin, in bytes of the (inflated) file; ``scaling`` is (slope, intercept) or None. ``form_code`` is the code of the
    form that ``affine`` is of. ``geometry`` is None where tools would not all read ``affine`` out of the header's own
    fields: results then state ``affine`` afresh.
    """

    shape: Shape
    dtype: str
    offset: int
    scaling: tuple[float, float] | None
    affine: Rows
    form_code: int
    geometry: NiftiGeometry | None
    warnings: tuple[str, ...]

    @property
    def announced_bytes(self) -> int:
        """Bytes that the (inflated) file has at least, its last voxel included."""
        return self.offset + math.prod(self.shape) * int(self.dtype[2:])


def header_size(start: bytes) -> int:
    """Bytes of the header that a file beginning with ``start`` (4 bytes) has.

    Raises ``InvalidNifti``, which names a file of another kind as far as ``start`` shows it.
    """
    return _recognised(start)[0]


def _recognised(start: bytes) -> tuple[int, str]:
    for order in "<>" if len(start) >= 4 else "":
        (size,) = struct.unpack(f"{order}i", start[:4])
        if size in _LAYOUTS:
            return size, order
    raise InvalidNifti(f"The file is not NIfTI{what_it_is(start)}")


def parse_header(block: bytes, limits: VolumeLimits) -> NiftiHeader:
    """A header block of ``header_size`` bytes, judged.

    Raises ``InvalidNifti``, ``UnusableVolume`` (several frames, colour), ``TooFewSlices`` or ``InputTooLarge``.
    """
    size, order = _recognised(block)
    layout = _LAYOUTS[size]
    fields = layout.unpack(block, order)
    _check_magic(fields["magic"], layout)
    shape = _shape(fields)
    limits.check_shape(shape)
    forms = read_forms(fields, layout.rounding, limits, shape)
    geometry = {**{name: fields[name] for name in _GEOMETRY}, "pixdim": fields["pixdim"][:4]}
    return NiftiHeader(
        shape=shape,
        dtype=order + _dtype(fields),
        offset=_offset(fields, size, limits),
        scaling=_scaling(fields),
        affine=forms.affine,
        form_code=forms.code,
        # Numbers of NIfTI-2 may be too large for NIfTI-1, in which results are written.
        geometry=NiftiGeometry(geometry) if forms.alike and layout.version == 1 else None,
        warnings=forms.warnings,
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


def _check_magic(found: bytes, layout: _Layout) -> None:
    if found in _PAIRS:
        raise InvalidNifti("The file is the header of a .hdr/.img pair; send one .nii or .nii.gz file.")
    if found != layout.magic:
        raise InvalidNifti(f"The file is not NIfTI-{layout.version}: its magic string is missing.")


def _shape(fields: Mapping[str, Any]) -> Shape:
    rank, *sizes = fields["dim"]
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


def _dtype(fields: Mapping[str, Any]) -> str:
    code, bits = fields["datatype"], fields["bitpix"]
    name = _DTYPES.get(code)
    if name is None:
        raise UnusableVolume(f"The datatype code is {code}; integers of 8 to 64 bits and floats of 32 or 64 are read.")
    if bits != int(name[1:]) * 8:
        raise InvalidNifti(f"bitpix is {bits}, voxels of datatype {code} have {int(name[1:]) * 8} bits.")
    return name


def _offset(fields: Mapping[str, Any], size: int, limits: VolumeLimits) -> int:
    offset, first = fields["vox_offset"], size + 4
    if not math.isfinite(offset) or offset != int(offset) or offset < first:
        raise InvalidNifti(f"vox_offset must be a whole number of at least {first}.")
    if offset > first + limits.max_extension_bytes:
        raise InvalidNifti(f"vox_offset leaves more than {limits.max_extension_bytes} bytes before the voxels.")
    return int(offset)


def _scaling(fields: Mapping[str, Any]) -> tuple[float, float] | None:
    slope, intercept = fields["scl_slope"], fields["scl_inter"]
    # The standard: 0 is "not scaled". Writers of float files put NaN there.
    if slope == 0 or math.isnan(slope):
        return None
    if not (abs(slope) <= _LARGEST and abs(intercept) <= _LARGEST):
        raise InvalidNifti("scl_slope or scl_inter is not a number of reasonable size.")
    return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)
