"""Where a file says its voxels lie: tools that would differ are named, and results are read alike by all of them."""

from __future__ import annotations

import gzip
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidNifti
from core.imaging.nifti.file import NiftiVolume, read_nifti, write_nifti
from core.imaging.volume import Affine
from tests.fixtures.volumes import ORIENTATIONS, make_affine, to_nifti
from tests.support.nifti_readers import shown

SHAPE = (17, 19, 11)
RAMP = (np.arange(np.prod(SHAPE)) % 251).reshape(SHAPE)
OBLIQUE = make_affine("PSR", (0.9, 1.1, 2.5), SHAPE, tilt_degrees=17)
ZERO = {"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0], "srow_z": [0, 0, 0, 0]}
TOOLS = ("nibabel", "SimpleITK", "NiiVue")


def rows(affine: Affine) -> dict[str, Any]:
    """The fields of a sform."""
    return {f"srow_{axis}": affine[row] for row, axis in enumerate("xyz")}


def file_of(affine: Affine = OBLIQUE, **fields: Any) -> bytes:
    return to_nifti(RAMP.astype(np.int16), affine, fields=fields)


def read(data: bytes) -> NiftiVolume:
    return read_nifti(io.BytesIO(data))


def result_of(found: NiftiVolume) -> bytes:
    written = io.BytesIO()
    write_nifti(written, (RAMP % 4).astype(np.uint8), found.geometry)
    return gzip.decompress(written.getvalue())


def check_alike(data: bytes) -> NiftiVolume:
    """All tools see the result where Falx saw the file, and its voxels are in the file's own order."""
    found = read(data)
    result = result_of(found)
    for tool, affine in shown(result).items():
        assert affine == pytest.approx(found.volume.affine, abs=0.02), tool
    assert result[352:] == (RAMP % 4).astype(np.uint8).tobytes(order="F")
    return found


MIRRORED = OBLIQUE @ np.diag([-1.0, 1.0, 1.0, 1.0])
MIRRORED[:3, 3] = OBLIQUE @ [SHAPE[0] - 1, 0, 0, 1] @ np.eye(4)[:, :3]


@pytest.mark.parametrize(
    ("codes", "by_qform"),
    [
        ((1, 1), set()),
        ((1, 2), {"SimpleITK"}),
        ((1, 4), {"SimpleITK"}),
        ((2, 1), {"NiiVue"}),
        ((2, 2), {"SimpleITK"}),
        ((3, 2), {"SimpleITK", "NiiVue"}),
        ((4, 1), {"NiiVue"}),
    ],
    ids=str,
)
def test_forms_that_differ_are_told_with_the_tools_that_take_each(codes: tuple[int, int], by_qform: set[str]) -> None:
    data = file_of(MIRRORED, qform_code=codes[0], sform_code=codes[1], **rows(OBLIQUE))
    taken = {tool for tool, affine in shown(data).items() if affine == pytest.approx(MIRRORED, abs=1e-3)}
    assert taken == by_qform
    found = check_alike(data)
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-4)
    (warning,) = found.warnings
    of_sform, _, of_qform = warning.partition("by the sform")
    assert "differ by up to 14.0 mm" in warning
    assert {tool for tool in TOOLS if tool in of_qform} == by_qform
    assert {tool for tool in TOOLS if tool in of_sform} == set(TOOLS) - by_qform
    assert "The sform is used" in warning


@pytest.mark.parametrize("broken", [ZERO, {"srow_x": [np.nan] * 4}, rows(OBLIQUE / 1000), rows(OBLIQUE * 1000)])
@pytest.mark.parametrize("code", [1, 2])
def test_a_broken_sform_is_not_copied_into_results(broken: dict[str, Any], code: int) -> None:
    found = check_alike(file_of(sform_code=code, **broken))
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-4)
    assert "the qform is used" in found.warnings[0]


def test_a_qform_that_lies_far_away_is_not_copied_into_results() -> None:
    found = check_alike(file_of(qoffset_x=1e7))
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-4)
    assert "the sform is used" in found.warnings[0]


def test_without_any_form_results_state_the_one_that_is_taken() -> None:
    data = file_of(qform_code=0, sform_code=0)
    before = shown(data)
    assert len({str(affine) for affine in before.values()}) == 3
    found = check_alike(data)
    assert found.volume.affine == pytest.approx(before["nibabel"])
    assert all(f"{tool} " in found.warnings[0] or f"{tool}." in found.warnings[0] for tool in ("SimpleITK", "NiiVue"))
    assert "as nibabel does" in found.warnings[0]


@pytest.mark.parametrize(("unit", "factor", "name"), [(1, 1000.0, "metres"), (3, 0.001, "micrometres")])
def test_other_units_are_converted_and_results_are_in_mm(unit: int, factor: float, name: str) -> None:
    scaled = OBLIQUE.copy()
    scaled[:3] /= factor
    found = check_alike(file_of(scaled, xyzt_units=unit + 8))
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-3)
    (warning,) = found.warnings
    assert f"unit in xyzt_units is {name}" in warning


@pytest.mark.parametrize(
    ("size", "unit", "text"),
    [
        (1.0, 1, "is metres; if millimetres are meant, set it to 2"),
        (1.0, 3, "is micrometres; if millimetres are meant, set it to 2"),
        (0.001, 2, "is millimetres; if metres are meant, set it to 1"),
        (1000.0, 2, "is millimetres; if micrometres are meant, set it to 3"),
        (1e-5, 1, "The unit in xyzt_units is metres."),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_unit_that_does_not_go_with_the_sizes_is_named(size: float, unit: int, text: str, version: int) -> None:
    affine = make_affine("LPS", (size, size, size), SHAPE)
    with pytest.raises(InvalidNifti) as caught:
        read(to_nifti(RAMP.astype(np.int16), affine, version=version, fields={"xyzt_units": unit}))
    assert text in caught.value.detail


def test_a_unit_that_nobody_knows_is_millimetres_and_told() -> None:
    found = check_alike(file_of(xyzt_units=5))
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-4)
    assert "none that NIfTI knows" in found.warnings[0]


BRATS = (240, 240, 155)


@pytest.mark.parametrize(
    ("diagonal", "told"),
    [
        ((1, 1, 1), "is the identity"),
        ((0.5, 0.5, 3), "is no more than the voxel spacing"),
        ((-1, -1, 1), "is no more than the voxel spacing"),
    ],
)
@pytest.mark.parametrize("codes", [(0, 1), (0, 2), (1, 0), (1, 1)], ids=str)
def test_an_affine_that_knows_no_orientation_is_told(
    diagonal: tuple[float, ...], told: str, codes: tuple[int, int]
) -> None:
    found = check_alike(file_of(np.diag([*diagonal, 1.0]), qform_code=codes[0], sform_code=codes[1]))
    (warning,) = found.warnings
    assert told in warning
    assert "may be exchanged" in warning
    assert "BraTS" not in warning


@pytest.mark.parametrize("codes", [(0, 1), (0, 0)], ids=str)
def test_of_an_array_as_in_brats_its_true_axes_are_told(codes: tuple[int, int]) -> None:
    voxels = np.zeros(BRATS, np.uint8)
    voxels[60:180, 40:200, 20:140] = 7
    data = to_nifti(voxels, np.eye(4), fields={"qform_code": codes[0], "sform_code": codes[1]}, compress=True)
    (warning,) = read(data).warnings
    assert "BraTS" in warning
    assert "left, posterior, superior" in warning


def test_a_file_of_brats_itself_needs_no_warning() -> None:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = 239
    voxels = np.zeros(BRATS, np.uint8)
    voxels[60:180, 40:200, 20:140] = 7
    assert read(to_nifti(voxels, affine, compress=True)).warnings == ()


def test_a_shear_is_told_and_readable_by_all_tools() -> None:
    sheared = make_affine("LPS", (1.0, 1.0, 2.0), SHAPE)
    sheared[1, 2] += 2.0 * np.tan(np.radians(3))
    data = file_of(sheared, qform_code=0)
    assert shown(data)["SimpleITK"] is None
    found = read(data)
    assert "3.000 degrees from perpendicular" in found.warnings[0]
    after = shown(result_of(found))
    assert after["nibabel"] == pytest.approx(sheared, abs=1e-4)
    assert after["NiiVue"] == pytest.approx(sheared, abs=1e-4)
    assert after["SimpleITK"] == pytest.approx(sheared, abs=0.6)


@settings(deadline=None, max_examples=200)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    tilt=st.floats(0, 40),
    codes=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    moved=st.sampled_from([0.0, 0.05, 7.0]),
    stretched=st.sampled_from([1.0, 1.001, 1.005, 1.3]),
    sizes=st.sampled_from([(1.0, 1.0, 1.0), (0.5, 0.7, 5.0)]),
)
def test_results_are_read_alike_whatever_the_forms_say(
    orientation: str,
    tilt: float,
    codes: tuple[int, int],
    moved: float,
    stretched: float,
    sizes: tuple[float, float, float],
) -> None:
    affine = make_affine(orientation, sizes, SHAPE, tilt)
    other = affine.copy()
    other[:3, :3] *= stretched
    other[1, 3] += moved
    data = file_of(affine, qform_code=codes[0], sform_code=codes[1], **rows(other))
    found = read(data)
    for tool, seen in shown(result_of(found)).items():
        assert seen is not None, tool
        corners = [seen @ [*np.multiply(end, SHAPE), 1] for end in np.ndindex(2, 2, 2)]
        own = [found.volume.affine @ [*np.multiply(end, SHAPE), 1] for end in np.ndindex(2, 2, 2)]
        assert corners == pytest.approx(np.asarray(own), abs=0.12), tool
