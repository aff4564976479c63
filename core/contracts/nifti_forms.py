"""Where the voxels of a NIfTI file lie: what its header says in up to two forms, which one is used, what to tell of it.

    sform     an affine, used where its code is not 0 and it is one
    qform     a rotation with the voxel spacing in pixdim, used where the sform is not
    neither   the spacing alone: axes to the left, anterior, superior, the centre at 0

Standard: the methods 3, 2 and 1 of nifti1.h. Tools choose otherwise, see ``_who_takes_what``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any, Final

from core.contracts.volume_limits import VolumeLimits
from core.errors import InvalidNifti

Shape = tuple[int, int, int]
Rows = tuple[tuple[float, ...], ...]
"""An affine as four rows of four, from voxel indices to RAS+ mm."""

_MM: Final = 2
# Units of length by their code in xyzt_units, each with its millimetres.
_UNITS: Final = {_MM: ("millimetres", 1.0), 1: ("metres", 1_000.0), 3: ("micrometres", 0.001)}
# What a form leads to when the header does not say: NIFTI_XFORM_ALIGNED_ANAT.
_ALIGNED: Final = 2
# Corners that two statements of one header may differ by.
_AGREEMENT_MM: Final = 0.1
# Tools round pixdim; more than this share is a contradiction.
_SPACING_AGREEMENT: Final = 0.01
# Axes whose directions have a larger product (0.006 degrees) are not perpendicular to SimpleITK.
_PERPENDICULAR: Final = 1e-4
# How axes run that step forwards (True) or backwards in x, y and z.
_BARE_AXES: Final[Mapping[tuple[bool, ...], str]] = {
    (True, True, True): "right, anterior, superior",
    (False, False, True): "left, posterior, superior",
}
_BRATS_SHAPE: Final = (240, 240, 155)
_LAST_ROW: Final = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Forms:
    """The ``affine`` that is used, the ``code`` of its form (1 to 5, see qform_code in nifti1.h), and what to tell.

    ``alike`` says whether nibabel, SimpleITK and NiiVue all read ``affine`` out of the header as it stands.
    """

    affine: Rows
    code: int
    alike: bool
    warnings: tuple[str, ...]


def read_forms(fields: Mapping[str, Any], rounding: float, limits: VolumeLimits, shape: Shape) -> Forms:
    """Judge the spatial ``fields`` of a header of a volume of ``shape``.

    A quaternion whose square is above 1 by no more than ``rounding`` is one of half a turn. Raises ``InvalidNifti``.
    """
    _check_spacing(fields, limits)
    _, unit = _unit(fields)
    stated, faults = {}, {}
    if fields["sform_code"] > 0:
        stated["sform"] = _in_mm(_sform(fields), unit)
    if fields["qform_code"] > 0:
        stated["qform"] = _in_mm(_qform(fields, rounding), unit)
    for name in tuple(stated):
        if fault := limits.fault_of(stated[name]):
            faults[name] = fault
            del stated[name]
    if stated:
        return _chosen(fields, stated, faults, shape)
    for name, fault in faults.items():
        raise InvalidNifti(f"The {name} {fault}.{_in_which_unit(fields)}")
    warning = (
        "The header does not say how the volume lies (qform_code and sform_code are 0), and tools differ on what that"
        " means: its axes are taken as left, anterior, superior, as nibabel does. To SimpleITK they are left,"
        " posterior, superior, to NiiVue right, anterior, superior. Left and right in the results,"
        " which state the axes that were taken, may be exchanged."
    )
    warnings = (warning + _brats(shape), *_on_unit(fields))
    return Forms(_in_mm(_without_forms(fields, shape), unit), _ALIGNED, alike=False, warnings=warnings)


def _chosen(fields: Mapping[str, Any], stated: Mapping[str, Rows], faults: Mapping[str, str], shape: Shape) -> Forms:
    name, affine = next(iter(stated.items()))
    _, unit = _unit(fields)
    spacing = [value * unit for value in fields["pixdim"][1:4]]
    sheared = _cosine(affine) > _PERPENDICULAR
    apart = max(_apart_mm(affine, other, shape) for other in stated.values())
    rounded = _apart_mm(affine, _with_spacing(affine, spacing), shape)
    warnings = [
        f"The {other} {fault}; the {name} is used, and results state no other." for other, fault in faults.items()
    ]
    if apart > _AGREEMENT_MM:
        warnings.append(_who_takes_what(fields, apart, sheared=sheared))
    lengths = [math.hypot(*axis) for axis in _axes(affine)]
    if any(abs(one - size) > _SPACING_AGREEMENT * size for one, size in zip(lengths, spacing, strict=True)):
        warnings.append(f"The voxel spacing in pixdim differs from that of the {name}, which is used.")
    if sheared:
        warnings.append(
            f"The axes of the {name} are {math.degrees(math.asin(_cosine(affine))):.3f} degrees from perpendicular,"
            " which SimpleITK cannot hold: it shows the results by the nearest form without it."
        )
    warnings += _on_identity(name, affine, shape)
    warnings += _on_unit(fields)
    alike = not faults and unit == 1.0 and max(apart, rounded) <= _AGREEMENT_MM and (not sheared or len(stated) == 2)
    code = fields[f"{name}_code"]
    return Forms(affine, code if code <= 5 else _ALIGNED, alike, tuple(warnings))


def _who_takes_what(fields: Mapping[str, Any], apart: float, *, sheared: bool) -> str:
    """On two forms that differ: the choices as measured with nibabel 5.4, SimpleITK 2.5 and NiiVue 0.69."""
    of_qform, of_sform = fields["qform_code"], fields["sform_code"]
    by_qform = [
        tool for tool, qform in (("SimpleITK", of_sform != 1 or sheared), ("NiiVue", of_qform > of_sform)) if qform
    ]
    by_sform = [tool for tool in ("nibabel", "SimpleITK", "NiiVue") if tool not in by_qform]
    others = f"{' and '.join(by_qform)} by the qform" if by_qform else "older tools by the qform"
    return (
        f"The qform (code {of_qform}) and the sform (code {of_sform}) of the header differ by up to {apart:.1f} mm, and"
        f" tools differ on which they show the file by: {' and '.join(by_sform)} by the sform, {others}. The sform is"
        " used, and results state no other; where a tool lays them elsewhere than the file, make its two forms agree."
    )


def _on_identity(name: str, affine: Rows, shape: Shape) -> list[str]:
    """What to say of an affine that knows of no more than the spacing, with axes as numpy or as ITK has them."""
    steps = [affine[axis][axis] for axis in range(3)]
    axes = _BARE_AXES.get(tuple(step > 0 for step in steps))
    if axes is None or any(affine[row][column] != 0 for row in range(3) for column in range(4) if row != column):
        return []
    what = "the identity" if steps == [1, 1, 1] else "no more than the voxel spacing"
    return [
        f"The {name} is {what}, as of an array that was saved without its affine: its axes are taken as"
        f" {axes}. Left and right in the results may be exchanged; save the array with the affine of the"
        f" file that it came from.{_brats(shape)}"
    ]


def _brats(shape: Shape) -> str:
    return " A file of BraTS, whose shape this is, has axes left, posterior, superior." if shape == _BRATS_SHAPE else ""


def _unit(fields: Mapping[str, Any]) -> tuple[str, float]:
    """Name and millimetres of the unit; what is not stated is mm, as all tools have it."""
    return _UNITS.get(fields["xyzt_units"] & 7, _UNITS[_MM])


def _in_which_unit(fields: Mapping[str, Any]) -> str:
    name, unit = _unit(fields)
    return "" if unit == 1.0 else f" The unit in xyzt_units is {name}."


def _on_unit(fields: Mapping[str, Any]) -> list[str]:
    name, unit = _unit(fields)
    if unit != 1.0:
        return [
            f"The unit in xyzt_units is {name}: lengths are converted, as SimpleITK does, and results are in"
            " millimetres. nibabel and NiiVue show the file in its own numbers."
        ]
    if fields["xyzt_units"] & 7 > max(_UNITS):
        return ["The unit in xyzt_units is none that NIfTI knows; lengths are taken as millimetres."]
    return []


def _check_spacing(fields: Mapping[str, Any], limits: VolumeLimits) -> None:
    """Refuse a spacing that is none; where another unit would make it one, say so."""
    low, high = limits.min_spacing_mm, limits.max_spacing_mm
    sizes, (name, unit) = fields["pixdim"][1:4], _unit(fields)
    # Written so that NaN fails as well.
    fits = [code for code, (_, mm) in _UNITS.items() if all(low <= size * mm <= high for size in sizes)]
    if all(low <= size * unit <= high for size in sizes):
        return
    detail = f"pixdim holds a voxel spacing that is not a number from {low} to {high} mm."
    for code in fits[:1]:
        detail += f" The unit in xyzt_units is {name}; if {_UNITS[code][0]} are meant, set it to {code}."
    raise InvalidNifti(detail if fits else detail + _in_which_unit(fields))


def _axes(affine: Rows) -> list[tuple[float, ...]]:
    return list(zip(*affine[:3], strict=True))[:3]


def _cosine(affine: Rows) -> float:
    """The largest between directions of two axes; 0 where all are perpendicular."""
    directions = [[value / math.hypot(*axis) for value in axis] for axis in _axes(affine)]
    pairs = itertools.combinations(directions, 2)
    return max(abs(math.fsum(map(mul, one, other))) for one, other in pairs)


def _with_spacing(affine: Rows, spacing: Sequence[float]) -> Rows:
    """The affine with axes of the lengths in pixdim, which SimpleITK goes by."""
    factors = [size / math.hypot(*axis) for axis, size in zip(_axes(affine), spacing, strict=True)]
    return *(tuple(map(mul, row, (*factors, 1.0))) for row in affine[:3]), affine[3]


def _apart_mm(one: Rows, other: Rows, shape: Shape) -> float:
    """The largest difference of a coordinate in mm of the voxels in the corners."""
    pairs = zip(_corners(one, shape), _corners(other, shape), strict=True)
    return max(abs(value - other_value) for value, other_value in pairs)


def _corners(affine: Rows, shape: Shape) -> list[float]:
    """Coordinates in mm of the eight voxels in the corners, one after the other."""
    ends = itertools.product(*((0, size - 1) for size in shape))
    return [a * i + b * j + c * k + d for i, j, k in ends for a, b, c, d in affine[:3]]


def _sform(fields: Mapping[str, Any]) -> Rows:
    rows = fields["srow"]
    return rows[:4], rows[4:8], rows[8:], _LAST_ROW


def _qform(fields: Mapping[str, Any], rounding: float) -> Rows:
    """Method 2 of nifti1.h: the rotation of a unit quaternion (a, b, c, d), of which the header has the last three."""
    qfac, di, dj, dk = fields["pixdim"][:4]
    b, c, d = fields["quatern"]
    square = 1.0 - (b * b + c * c + d * d)
    # 0 stands for 1 in pixdim[0], says the standard.
    if qfac not in (-1, 0, 1) or square <= -rounding:
        raise InvalidNifti("The qform is broken: pixdim[0] must be -1 or 1, the quaternion a rotation.")
    a = 0.0 if abs(square) < rounding else math.sqrt(square)
    # Twice each product, divided by the square of the length, which is 1 but for the rounding.
    share = 2.0 / (a * a + b * b + c * c + d * d)
    rotation = (
        (1.0 - share * (c * c + d * d), share * (b * c - a * d), share * (b * d + a * c)),
        (share * (b * c + a * d), 1.0 - share * (b * b + d * d), share * (c * d - a * b)),
        (share * (b * d - a * c), share * (c * d + a * b), 1.0 - share * (b * b + c * c)),
    )
    dk *= qfac or 1
    x, y, z = ((i * di, j * dj, k * dk, at) for (i, j, k), at in zip(rotation, fields["qoffset"], strict=True))
    return x, y, z, _LAST_ROW


def _without_forms(fields: Mapping[str, Any], shape: Shape) -> Rows:
    """Method 1: the spacing alone, the first axis to the left and the centre of the volume at 0."""
    rows = []
    for axis, (size, spacing) in enumerate(zip(shape, fields["pixdim"][1:4], strict=True)):
        step = -spacing if axis == 0 else spacing
        rows.append((*(step if other == axis else 0.0 for other in range(3)), -step * (size - 1) / 2))
    return *rows, _LAST_ROW


def _in_mm(affine: Rows, unit: float) -> Rows:
    return *(tuple(value * unit for value in row) for row in affine[:3]), affine[3]
