"""NIfTI headers read and written without a library: field for field what nibabel reads and writes."""

from __future__ import annotations

import gzip
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts.nifti import header_size, parse_header
from core.contracts.volume_limits import VolumeLimits
from core.errors import InvalidNifti
from core.imaging.nifti.file import read_nifti, write_nifti
from core.imaging.nifti.geometry import geometry_of
from core.imaging.volume import Affine, Grid
from tests.fixtures.volumes import ORIENTATIONS, make_affine, nibabel, to_nifti

SHAPE = (17, 19, 11)
RAMP = (np.arange(np.prod(SHAPE)) % 251).reshape(SHAPE)
DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8"]

spacings = st.tuples(*[st.floats(0.1, 15.0)] * 3)
affines = st.builds(
    make_affine, st.sampled_from(ORIENTATIONS), spacings, st.just(SHAPE), st.floats(-180.0, 180.0, allow_nan=False)
)


def nibabel_header(version: int, block: bytes = b"", order: str = "<") -> Any:
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    return kind(block, endianness=order, check=False) if block else kind()


@settings(deadline=None, max_examples=200)
@given(
    affine=affines,
    dtype=st.sampled_from(DTYPES),
    version=st.sampled_from([1, 2]),
    big_endian=st.booleans(),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    scaling=st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32)),
)
def test_headers_are_read_as_nibabel_reads_them(
    affine: Affine,
    dtype: str,
    version: int,
    big_endian: bool,
    codes: tuple[int, int],
    scaling: tuple[float, float],
) -> None:
    slope, intercept = scaling
    fields = {"qform_code": codes[0], "sform_code": codes[1], "scl_slope": slope, "scl_inter": intercept}
    data = to_nifti(RAMP.astype(dtype), affine, version=version, big_endian=big_endian, fields=fields)
    block = data[: header_size(data)]
    header = parse_header(block, VolumeLimits())
    reference = nibabel_header(version, block, ">" if big_endian else "<")
    assert header.shape == reference.get_data_shape()
    assert np.dtype(header.dtype) == reference.get_data_dtype()
    assert header.offset == reference.get_data_offset()
    assert header.announced_bytes == len(data)
    assert (header.scaling or (1.0, 0.0)) == ((slope, intercept) if slope else (1.0, 0.0))
    assert np.asarray(header.affine) == pytest.approx(reference.get_best_affine(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("quaternion", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0), (0.6, 0.8, 0), (0.6, 0, 0.8)])
def test_half_turns_are_read_as_nibabel_reads_them(version: int, quaternion: tuple[float, float, float]) -> None:
    named = dict(zip(("quatern_b", "quatern_c", "quatern_d"), quaternion, strict=True))
    data = to_nifti(RAMP.astype(np.int16), version=version, fields={"sform_code": 0, **named})
    header = parse_header(data[: header_size(data)], VolumeLimits())
    reference = nibabel_header(version, data[: header_size(data)]).get_qform()
    assert np.asarray(header.affine) == pytest.approx(reference, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("size", [0, 3])
def test_less_than_the_size_of_a_header_is_no_header(size: int) -> None:
    with pytest.raises(InvalidNifti):
        header_size(bytes(size))


@settings(deadline=None, max_examples=150)
@given(affine=affines)
def test_geometries_of_grids_are_those_of_nibabel(affine: Affine) -> None:
    expected = nibabel_header(1)
    expected.set_data_dtype(np.uint8)
    expected.set_data_shape(SHAPE)
    expected.set_qform(affine, code=1)
    expected.set_sform(affine, code=1)
    expected.set_xyzt_units("mm")
    expected["vox_offset"], expected["scl_slope"], expected["scl_inter"] = 352, 1, 0
    assert geometry_of(Grid(SHAPE, affine)).header(SHAPE, "u1") == expected.binaryblock + bytes(4)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_headers_are_written_as_nibabel_writes_them(big_endian: bool, dtype: str) -> None:
    affine = make_affine("PSR", (0.9, 1.1, 2.5), SHAPE, 17)
    source = to_nifti(RAMP.astype(np.int16), affine, big_endian=big_endian)
    before = nibabel_header(1, source[:348], ">" if big_endian else "<")
    expected = nibabel_header(1)
    expected.set_data_dtype(dtype)
    expected.set_data_shape(SHAPE)
    for name in expected.keys():  # noqa: SIM118  a header is no mapping
        if name.startswith(("q", "srow", "sform", "xyzt")):
            expected[name] = before[name]
    expected["pixdim"][:4] = before["pixdim"][:4]
    expected["vox_offset"], expected["scl_slope"], expected["scl_inter"] = 352, 1, 0
    expected["descrip"] = b"Falx. Research use only."
    expected["cal_min"], expected["cal_max"] = 16, 240
    written = io.BytesIO()
    write_nifti(written, RAMP.astype(dtype), read_nifti(io.BytesIO(source)).geometry, labels=False, window=(16, 240))
    assert gzip.decompress(written.getvalue()) == (
        expected.binaryblock + bytes(4) + RAMP.astype(dtype).tobytes(order="F")
    )


@settings(deadline=None, max_examples=50)
@given(affine=affines, code=st.integers(1, 5), unused=st.sampled_from(["qform_code", "sform_code"]))
def test_results_of_nifti_2_are_nifti_1_on_the_same_affine(affine: Affine, code: int, unused: str) -> None:
    """NIfTI-2 has numbers that NIfTI-1 has no room for, also in the form that does not count."""
    fields: dict[str, Any] = {"qform_code": code, "sform_code": code, unused: 0, "xyzt_units": 2 + 8 + 2**20}
    fields["srow_x" if unused == "sform_code" else "qoffset_x"] = 1e300
    source = to_nifti(RAMP.astype(np.int16), affine, version=2, fields=fields)
    read = read_nifti(io.BytesIO(source))
    written = io.BytesIO()
    write_nifti(written, RAMP.astype(np.uint8), read.geometry)
    after = nibabel.Nifti1Image.from_bytes(gzip.decompress(written.getvalue()))
    assert after.affine == pytest.approx(read.volume.affine, abs=1e-3)
    # Near half a turn float32 knows the angle of a quaternion to 0.0005 only.
    assert after.get_qform() == pytest.approx(read.volume.affine, abs=0.03)
    assert (after.header["qform_code"], after.header["sform_code"]) == (code, code)
    assert np.array_equal(np.asarray(after.dataobj), RAMP)
