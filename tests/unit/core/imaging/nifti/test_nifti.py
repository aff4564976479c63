"""NIfTI files: every sound variant against nibabel, every lie refused by name and within bounded memory."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts.volume_limits import VolumeLimits
from core.errors import (
    DecompressionBomb,
    InputTooLarge,
    InvalidNifti,
    RequestError,
    TooFewSlices,
    UnusableVolume,
)
from core.imaging.nifti.file import NiftiVolume, read_nifti, write_nifti
from core.imaging.nifti.geometry import geometry_of
from tests.fixtures.volumes import ORIENTATIONS, make_affine, make_head, nibabel, to_nifti

SHAPE = (17, 19, 11)
RAMP = (np.arange(np.prod(SHAPE)) % 251).reshape(SHAPE)
OBLIQUE = make_affine("PSR", (0.9, 1.1, 2.5), SHAPE, tilt_degrees=17)


def read(data: bytes, limits: VolumeLimits | None = None) -> NiftiVolume:
    return read_nifti(io.BytesIO(data), limits or VolumeLimits())


def plain(**options: Any) -> bytes:
    return to_nifti(RAMP.astype(np.int16), OBLIQUE, **options)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
def test_every_datatype_and_byte_order(dtype: str, version: int, big_endian: bool) -> None:
    values = (RAMP % 100).astype(dtype)
    found = read(to_nifti(values, OBLIQUE, version=version, big_endian=big_endian, compress=big_endian))
    assert found.volume.voxels.dtype == np.float32
    assert np.array_equal(found.volume.voxels, values.astype(np.float32))
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-4)
    assert found.warnings == ()


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_affines_are_those_of_nibabel(orientation: str) -> None:
    image = nibabel.Nifti1Image(RAMP.astype(np.uint8), make_affine(orientation, (0.8, 1.0, 3.0), SHAPE, 12))
    reference = nibabel.Nifti1Image.from_bytes(image.to_bytes())
    found = read(image.to_bytes())
    assert np.array_equal(found.volume.affine, reference.affine)
    assert np.array_equal(found.volume.voxels, reference.get_fdata(dtype=np.float32))


def test_scaling_is_applied() -> None:
    found = read(plain(fields={"scl_slope": 0.25, "scl_inter": -7}))
    assert np.allclose(found.volume.voxels, RAMP * 0.25 - 7)


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_a_slope_that_says_nothing_scales_nothing(slope: float) -> None:
    found = read(plain(fields={"scl_slope": slope, "scl_inter": 5}))
    assert np.array_equal(found.volume.voxels, RAMP)


def test_one_frame_in_four_dimensions_is_a_volume() -> None:
    assert read(to_nifti(RAMP.astype(np.int16)[..., None])).volume.voxels.shape == SHAPE


def test_the_sform_goes_before_the_qform_and_a_difference_is_told() -> None:
    moved = {"qoffset_x": OBLIQUE[0, 3] + 5}
    found = read(plain(fields=moved))
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-4)
    assert "differ" in found.warnings[0]
    only_qform = read(plain(fields={**moved, "sform_code": 0}))
    assert only_qform.volume.affine[0, 3] == pytest.approx(OBLIQUE[0, 3] + 5, abs=1e-4)
    assert only_qform.volume.affine[:3, :3] == pytest.approx(OBLIQUE[:3, :3], abs=1e-4)
    assert only_qform.warnings == ()


def test_a_left_handed_qform_is_understood() -> None:
    mirrored = make_affine("LAS", (1.0, 1.0, 2.0), SHAPE)
    assert np.linalg.det(mirrored) < 0
    found = read(to_nifti(RAMP.astype(np.int16), mirrored, fields={"sform_code": 0}))
    assert found.volume.affine == pytest.approx(mirrored, abs=1e-5)


def test_a_qfac_of_zero_stands_for_one() -> None:
    straight = make_affine("RAS", (1.0, 1.0, 2.0), SHAPE)
    pixdim = [0, 1, 1, 2, 0, 0, 0, 0]
    found = read(to_nifti(RAMP.astype(np.int16), straight, fields={"sform_code": 0, "pixdim": pixdim}))
    assert found.volume.affine == pytest.approx(straight)
    assert found.geometry.fields["pixdim"][0] == 0


def test_a_broken_sform_gives_way_to_a_sound_qform() -> None:
    found = read(plain(fields={"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0], "srow_z": [0, 0, 0, 0]}))
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-4)
    assert "the qform is used" in found.warnings[0]


def test_without_any_form_the_orientation_is_said_to_be_unknown() -> None:
    found = read(plain(fields={"sform_code": 0, "qform_code": 0}))
    assert "may be exchanged" in found.warnings[0]
    assert found.volume.affine[0, 0] < 0
    assert found.volume.grid.spacing_mm == pytest.approx((0.9, 1.1, 2.5))


@pytest.mark.parametrize(("unit", "factor"), [(1, 1_000.0), (3, 0.001), (0, 1.0)])
def test_units_become_millimetres(unit: int, factor: float) -> None:
    scaled = OBLIQUE.copy()
    scaled[:3] /= factor
    found = read(to_nifti(RAMP.astype(np.int16), scaled, fields={"xyzt_units": unit}))
    assert found.volume.affine == pytest.approx(OBLIQUE, abs=1e-3)


def test_extensions_are_walked_over() -> None:
    extension = struct.pack("<ii", 32, 6) + b"Doe^Jane".ljust(24, b"\0")
    assert np.array_equal(read(plain(extensions=extension * 2)).volume.voxels, RAMP)


@pytest.mark.parametrize("members", [1, 3], ids=["one member", "several members"])
def test_gzip_in_members_and_with_padding(members: int) -> None:
    data = plain()
    step = -(-len(data) // members)
    packed = b"".join(gzip.compress(data[at : at + step]) for at in range(0, len(data), step))
    assert np.array_equal(read(packed + bytes(512)).volume.voxels, RAMP)


LIES: dict[str, tuple[Mapping[str, Any], type[RequestError]]] = {
    "rank 0": ({"dim": [0, 17, 19, 11, 1, 1, 1, 1]}, InvalidNifti),
    "rank 8": ({"dim": [8, 17, 19, 11, 1, 1, 1, 1]}, InvalidNifti),
    "rank negative": ({"dim": [-3, 17, 19, 11, 1, 1, 1, 1]}, InvalidNifti),
    "no voxels": ({"dim": [3, 17, 0, 11, 1, 1, 1, 1]}, InvalidNifti),
    "negative side": ({"dim": [3, 17, -19, 11, 1, 1, 1, 1]}, InvalidNifti),
    "huge side": ({"dim": [3, 17, 32767, 11, 1, 1, 1, 1]}, InputTooLarge),
    "huge volume": ({"dim": [3, 2000, 2000, 2000, 1, 1, 1, 1]}, InputTooLarge),
    "one slice": ({"dim": [2, 17, 19, 1, 1, 1, 1, 1]}, TooFewSlices),
    "few slices": ({"dim": [3, 17, 19, 3, 1, 1, 1, 1]}, TooFewSlices),
    "narrow": ({"dim": [3, 9, 9, 17, 1, 1, 1, 1]}, UnusableVolume),
    "frames": ({"dim": [4, 17, 19, 11, 20, 1, 1, 1]}, UnusableVolume),
    "more data than there are": ({"dim": [3, 17, 19, 12, 1, 1, 1, 1]}, InvalidNifti),
    "pixdim zero": ({"pixdim": [1, 0.9, 0, 2.5, 0, 0, 0, 0]}, InvalidNifti),
    "pixdim negative": ({"pixdim": [1, 0.9, -1.1, 2.5, 0, 0, 0, 0]}, InvalidNifti),
    "pixdim nan": ({"pixdim": [1, 0.9, np.nan, 2.5, 0, 0, 0, 0]}, InvalidNifti),
    "pixdim huge": ({"pixdim": [1, 0.9, 1e30, 2.5, 0, 0, 0, 0]}, InvalidNifti),
    "qfac": ({"pixdim": [7, 0.9, 1.1, 2.5, 0, 0, 0, 0], "sform_code": 0}, InvalidNifti),
    "quaternion": ({"quatern_b": 1.0, "quatern_c": 1.0, "sform_code": 0}, InvalidNifti),
    "quaternion nan": ({"quatern_b": np.nan, "sform_code": 0}, InvalidNifti),
    "quaternion infinite": ({"quatern_b": np.inf, "sform_code": 0}, InvalidNifti),
    "sform nan": ({"srow_x": [np.nan, 0, 0, 0], "qform_code": 0}, InvalidNifti),
    "sform infinite": ({"srow_x": [np.inf, 0, 0, 0], "qform_code": 0}, InvalidNifti),
    "sform flat": ({"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0], "qform_code": 0}, InvalidNifti),
    "sform sheared": (
        {"srow_x": [1, 1, 0, 0], "srow_y": [0, 1, 0, 0], "srow_z": [0, 0, 1, 0], "qform_code": 0},
        InvalidNifti,
    ),
    "far away": ({"qoffset_x": 1e9, "sform_code": 0}, InvalidNifti),
    "offset inside the header": ({"vox_offset": 100}, InvalidNifti),
    "offset negative": ({"vox_offset": -352}, InvalidNifti),
    "offset huge": ({"vox_offset": 1e12}, InvalidNifti),
    "offset nan": ({"vox_offset": np.nan}, InvalidNifti),
    "offset infinite": ({"vox_offset": np.inf}, InvalidNifti),
    "offset broken": ({"vox_offset": 352.5}, InvalidNifti),
    "slope infinite": ({"scl_slope": np.inf}, InvalidNifti),
    "intercept nan": ({"scl_slope": 2.0, "scl_inter": np.nan}, InvalidNifti),
    "colour": ({"datatype": 128, "bitpix": 24}, UnusableVolume),
    "complex": ({"datatype": 32, "bitpix": 64}, UnusableVolume),
    "unknown datatype": ({"datatype": 9999}, UnusableVolume),
    "bitpix": ({"bitpix": 8}, InvalidNifti),
    "magic": ({"magic": b"abc"}, InvalidNifti),
    "pair": ({"magic": b"ni1"}, InvalidNifti),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_headers_that_lie_are_refused(lie: str, compress: bool) -> None:
    fields, error = LIES[lie]
    with pytest.raises(error) as caught:
        read(plain(fields=fields, compress=compress))
    assert caught.type is error


@pytest.mark.parametrize("version", [1, 2])
def test_a_huge_volume_is_refused_before_memory_is_taken(version: int) -> None:
    sides = [3, 2047, 2047, 2047, 1, 1, 1, 1]
    data = plain(version=version, fields={"dim": sides}, compress=True)
    assert peak_bytes(data, InputTooLarge) < 4 * 1024**2


def test_a_nifti_2_header_of_astronomical_size_is_refused() -> None:
    with pytest.raises(InputTooLarge):
        read(plain(version=2, fields={"dim": [3, 2**62, 2**62, 2**62, 1, 1, 1, 1]}))
    with pytest.raises(UnusableVolume):
        read(plain(version=2, fields={"dim": [7, 17, 19, 11, 2**62, 2**62, 2**62, 2**62]}))


@pytest.mark.parametrize("size", [0, 4, 7, -16, 1_000_000, -(2**31)])
def test_extensions_that_loop_or_leave_are_refused(size: int) -> None:
    with pytest.raises(InvalidNifti, match="extensions"):
        read(plain(extensions=struct.pack("<ii", size, 6) + bytes(24)))


def peak_bytes(data: bytes, error: type[RequestError] | None = None) -> int:
    tracemalloc.start()
    try:
        if error is None:
            read(data)
        else:
            with pytest.raises(error):
                read(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_behind_a_sound_header_is_refused_in_little_memory() -> None:
    bomb = gzip.compress(plain() + bytes(64 * 1024**2), 9)
    assert len(bomb) < 100_000
    assert peak_bytes(bomb, DecompressionBomb) < 8 * 1024**2


def test_a_gzip_bomb_without_a_header_is_refused_at_its_first_bytes() -> None:
    assert peak_bytes(gzip.compress(bytes(64 * 1024**2), 9), InvalidNifti) < 2 * 1024**2


def test_gzip_of_endless_empty_members_is_refused() -> None:
    empty = gzip.compress(b"", mtime=0)
    with pytest.raises(InvalidNifti, match="members"):
        read(empty * 70_000)


def test_a_file_beyond_the_limit_is_refused_while_it_is_read() -> None:
    with pytest.raises(InputTooLarge):
        read(plain(), VolumeLimits(max_bytes=1_000))


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_cut_anywhere_is_truncated(compress: bool) -> None:
    data = plain(compress=compress)
    for size in (0, 1, 3, 100, 347, 351, len(data) // 2, len(data) - 1):
        with pytest.raises(InvalidNifti):
            read(data[:size])


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(plain(compress=True))
    data[-6] ^= 1
    with pytest.raises(InvalidNifti, match="gzip"):
        read(bytes(data))


def test_one_value_everywhere_is_unusable() -> None:
    with pytest.raises(UnusableVolume, match="same value"):
        read(to_nifti(np.full(SHAPE, 7, np.int16)))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(600), b"\x89PNG\r\n\x1a\n" + bytes(600), bytes(600)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidNifti):
        read(data)


def test_reading_takes_little_more_memory_than_the_result() -> None:
    values = np.zeros((96, 96, 160), np.int16)
    values[5:] = 3
    data = to_nifti(values, compress=True)
    assert peak_bytes(data) < values.size * 4 + 24 * 1024**2


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 351), value=st.integers(0, 255), compress=st.booleans())
def test_no_byte_of_a_header_can_do_harm(at: int, value: int, compress: bool) -> None:
    data = bytearray(plain())
    data[at] = value
    try:
        found = read(gzip.compress(bytes(data), 1) if compress else bytes(data))
    except RequestError:
        return
    assert found.volume.voxels.shape[0] >= 1
    assert np.isfinite(found.volume.voxels).all()
    assert np.isfinite(found.volume.affine).all()


@pytest.mark.parametrize("codes", [(1, 1), (0, 4), (2, 0)])
def test_results_lie_on_the_grid_of_the_input(codes: tuple[int, int]) -> None:
    source = plain(fields={"qform_code": codes[0], "sform_code": codes[1]})
    labels = (RAMP % 4).astype(np.uint8)
    written = io.BytesIO()
    write_nifti(written, labels, read(source).geometry)
    image = nibabel.Nifti1Image
    before, after = image.from_bytes(source), image.from_bytes(gzip.decompress(written.getvalue()))
    assert np.array_equal(after.affine, before.affine)
    assert np.array_equal(np.asarray(after.dataobj), labels)
    assert after.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "srow_x"):
        assert np.array_equal(after.header[field], before.header[field]), field


@pytest.mark.parametrize(
    ("dtype", "labels", "intent"), [(np.uint8, True, 1002), (np.uint8, False, 0), (np.float32, True, 0)]
)
def test_only_labels_are_called_labels(dtype: npt.DTypeLike, labels: bool, intent: int) -> None:
    written = io.BytesIO()
    write_nifti(written, RAMP.astype(dtype), read(plain()).geometry, labels=labels)
    header = nibabel.Nifti1Image.from_bytes(gzip.decompress(written.getvalue())).header
    assert [int(header[name]) for name in ("intent_code", "cal_min", "cal_max")] == [intent, 0, 0]


def test_viewers_are_told_what_is_black_and_white() -> None:
    written = io.BytesIO()
    write_nifti(written, RAMP.astype(np.uint8), read(plain()).geometry, labels=False, window=(16, 240))
    header = nibabel.Nifti1Image.from_bytes(gzip.decompress(written.getvalue())).header
    assert (float(header["cal_min"]), float(header["cal_max"])) == (16, 240)


def test_nothing_but_geometry_is_carried_into_results() -> None:
    source = plain(fields={"descrip": b"Doe^Jane", "aux_file": b"Doe^Jane", "db_name": b"Doe^Jane"})
    written = io.BytesIO()
    write_nifti(written, RAMP.astype(np.uint8), read(source).geometry)
    assert b"Doe" not in gzip.decompress(written.getvalue())


def test_the_same_result_is_the_same_bytes() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    geometry = read(plain()).geometry
    for sink in (first, second):
        write_nifti(sink, RAMP.astype(np.float32), geometry)
    assert first.getvalue() == second.getvalue()


def test_a_grid_from_elsewhere_makes_a_header() -> None:
    head = make_head(affine=make_affine("LPS", (1.0, 1.0, 3.0), (32, 36, 28), 9))
    written = io.BytesIO()
    write_nifti(written, head.voxels, geometry_of(head.grid))
    found = read(written.getvalue())
    assert found.volume.affine == pytest.approx(head.affine, abs=1e-4)
    assert np.array_equal(found.volume.voxels, head.voxels)
    assert found.warnings == ()
