"""What the first bytes of an upload give away, however they are cut."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import FalxError, InvalidDicom, InvalidNifti, RequestError, UnusableVolume
from core.imaging.nifti.file import read_nifti
from gateway.jobs.first_bytes import GZIP, NIFTI, ZIP, Head, NiftiHead, ZipHead, judged_header
from tests.fixtures.volumes import to_nifti, to_zip

VOXELS = np.arange(16 * 16 * 12, dtype=np.int16).reshape(16, 16, 12)
FILES = [
    to_nifti(VOXELS, version=version, big_endian=big_endian, compress=compress)
    for version in (1, 2)
    for big_endian in (False, True)
    for compress in (False, True)
]


def passed(head: Head, data: bytes, step: int) -> bytes:
    out = b"".join(head.feed(data[at : at + step]) for at in range(0, len(data), step))
    return out + head.close()


@pytest.mark.parametrize("step", [1, 7, 539, 10_000])
@pytest.mark.parametrize("data", FILES, ids=range(len(FILES)))
def test_sound_files_pass_unchanged(data: bytes, step: int) -> None:
    head = NiftiHead("flair")
    assert passed(head, data, step) == data
    assert head.media_type == (GZIP if data[:2] == b"\x1f\x8b" else NIFTI)


def test_the_length_is_that_of_the_file() -> None:
    for data in FILES:
        if data[:2] != b"\x1f\x8b":
            assert judged_header(data[:540]).announced_bytes == len(data)


@pytest.mark.parametrize("missing", [1, 100, 6000])
def test_a_file_that_was_cut_off(missing: int) -> None:
    data = to_nifti(VOXELS)
    with pytest.raises(InvalidNifti, match="flair"):
        passed(NiftiHead("flair"), data[:-missing], 1000)


@pytest.mark.parametrize("step", [1, 50, 10_000])
def test_a_header_may_be_spread_over_members_of_gzip(step: int) -> None:
    data = to_nifti(VOXELS)
    packed = b"".join(gzip.compress(part, mtime=0) for part in (b"", data[:100], data[100:350], data[350:]))
    assert passed(NiftiHead("t1"), packed, step) == packed


def test_names_in_the_gzip_header_are_no_hindrance_and_no_trap() -> None:
    packed = gzip.compress(to_nifti(VOXELS), mtime=0)

    def named(name: bytes) -> bytes:
        return packed[:3] + b"\x08" + packed[4:10] + name + b"\0" + packed[10:]

    assert passed(NiftiHead("t1"), named(b"x" * 5000), 700) == named(b"x" * 5000)
    with pytest.raises(InvalidNifti, match="no NIfTI header"):
        passed(NiftiHead("t1"), named(b"x" * 400_000), 65_536)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes(128) + b"DICM" + bytes(600), "DICOM"),
        (bytes(600), "not NIfTI"),
        (b"\x5c\x01", "not NIfTI"),
        (b"", "it is empty"),
        (to_nifti(VOXELS)[:344] + b"ni1\0" + bytes(400), "pair"),
        (to_nifti(VOXELS)[:300], "ends inside"),
        (to_nifti(VOXELS, fields={"vox_offset": np.inf}), "vox_offset"),
        (to_nifti(VOXELS, fields={"dim": [9, 16, 16, 12, 1, 1, 1, 1]}), r"dim\[0\]"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, text: str) -> None:
    with pytest.raises(InvalidNifti, match=text) as caught:
        passed(NiftiHead("t2"), data, 4096)
    assert caught.value.errors[0].pointer == "part/t2"


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
STRANGERS = {
    "LFS pointer": (LFS, "Git LFS pointer.*git lfs pull"),
    "annex pointer": (b"/annex/objects/MD5E-s11--00.nii.gz\n", "git-annex pointer.*datalad get"),
    "gzip twice": (gzip.compress(gzip.compress(to_nifti(VOXELS))), "compressed twice.*decompress it once"),
    "tar.gz": (gzip.compress(bytes(257) + b"ustar" + bytes(1000)), "tar archive.*unpack"),
    "NRRD": (b"NRRD0004\ntype: short\n\n" + bytes(600), "NRRD.*save the volume as .nii.gz"),
    "MGH": (struct.pack(">7i", 1, 16, 16, 12, 1, 4, 0) + bytes(600), "MGH.*mri_convert"),
    "MGZ": (gzip.compress(struct.pack(">7i", 1, 16, 16, 12, 1, 4, 0) + bytes(600)), "MGZ.*mri_convert"),
    "HTML": (b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Sign in</body></html>", "HTML page.*download"),
    "XML": (b"<?xml version='1.0'?><GIFTI/>", "XML"),
    "JSON": (b' {"EchoTime": 0.1}', "JSON.*beside it"),
    "zip": (to_zip({"a": b"b"}).getvalue(), "zip archive.*part dicom"),
    "DICOM": (bytes(128) + b"DICM" + bytes(600), "DICOM: .*part dicom"),
    "bare DICOM": (b"\x08\0\5\0CS\x0a\0ISO_IR 100" + bytes(600), "DICOM without a preamble.*part dicom"),
    "MetaImage": (b"ObjectType = Image\nNDims = 3\n", "MetaImage"),
    "NumPy": (b"\x93NUMPY\1\0" + bytes(600), "NumPy array.*with its affine"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(600), "PNG image.*/v1/segmentations"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5"),
    "xz": (lzma.compress(to_nifti(VOXELS)), "xz.*gzip"),
    "bzip2": (bz2.compress(to_nifti(VOXELS)), "bzip2.*gzip"),
}


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize("kind", STRANGERS)
def test_what_comes_instead_of_nifti_is_named_with_what_to_do(kind: str, step: int) -> None:
    data, words = STRANGERS[kind]
    with pytest.raises(InvalidNifti, match=f"flair: The file is not NIfTI but .*{words}") as caught:
        passed(NiftiHead("flair"), data, step)
    assert caught.type is InvalidNifti


@settings(deadline=None, max_examples=60)
@given(data=st.binary(min_size=1, max_size=900), step=st.integers(1, 900))
def test_any_bytes_pass_or_are_a_fault_of_the_caller(data: bytes, step: int) -> None:
    for head in (NiftiHead("t1"), ZipHead("dicom")):
        with suppress(RequestError):
            assert passed(head, data, step) == data


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, 539), value=st.integers(0, 255))
def test_a_header_with_one_wrong_byte_passes_or_is_a_fault_of_the_caller(at: int, value: int) -> None:
    data = bytearray(to_nifti(VOXELS, version=2))
    data[at] = value
    with suppress(RequestError):
        assert passed(NiftiHead("t1"), bytes(data), 1000) == data


# What cannot be told of a file before its extensions and its voxels are read.
BEHIND_THE_HEADER = ("same value", "extensions", "truncated")


def refusal(judge: Any) -> FalxError | None:
    try:
        judge()
    except RequestError as error:
        return error
    return None


def check_one_opinion(data: bytes) -> None:
    """Door and worker refuse a file for the same reason, and the door lets nothing pass that its header gives away."""
    door = refusal(lambda: passed(NiftiHead("t1"), data, 1000))
    worker = refusal(lambda: read_nifti(io.BytesIO(data)))
    if door is None:
        assert worker is None or any(words in worker.detail for words in BEHIND_THE_HEADER), worker
    elif "its header announces" in door.detail:
        assert worker is not None
        assert "extensions" in worker.detail or "truncated" in worker.detail
    else:
        assert worker is not None, door
        assert (type(door), door.detail) == (type(worker), f"t1: {worker.detail}")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"datatype": 32, "bitpix": 64}, UnusableVolume),
        ({"datatype": 128, "bitpix": 24}, UnusableVolume),
        ({"bitpix": 8}, InvalidNifti),
        ({"pixdim": [1, 1e5, 1e5, 1e5, 0, 0, 0, 0]}, InvalidNifti),
        ({"xyzt_units": 1}, InvalidNifti),
        ({"srow_x": [np.nan] * 4, "qform_code": 0}, InvalidNifti),
        ({"quatern_b": 1.0, "quatern_c": 1.0}, InvalidNifti),
        ({"scl_slope": np.inf}, InvalidNifti),
        ({"vox_offset": 0}, InvalidNifti),
    ],
    ids=["complex", "colour", "bitpix", "100 m", "metres", "sform", "quaternion", "scaling", "offset"],
)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_what_needs_no_voxel_is_refused_at_the_door(
    fields: dict[str, Any], error: type[FalxError], version: int, compress: bool
) -> None:
    data = to_nifti(VOXELS, version=version, compress=compress, fields=fields)
    with pytest.raises(error) as caught:
        passed(NiftiHead("t1"), data, 1000)
    assert caught.type is error
    check_one_opinion(data)


@settings(deadline=None, max_examples=400)
@given(
    version=st.sampled_from([1, 2]),
    big_endian=st.booleans(),
    compress=st.booleans(),
    patches=st.lists(st.tuples(st.integers(4, 539), st.binary(min_size=1, max_size=8)), max_size=4),
)
def test_door_and_worker_are_of_one_opinion(
    version: int, big_endian: bool, compress: bool, patches: list[tuple[int, bytes]]
) -> None:
    data = bytearray(to_nifti(VOXELS, version=version, big_endian=big_endian))
    header = 348 if version == 1 else 540
    for at, patch in patches:
        data[min(at, header - 1) : min(at + len(patch), header)] = patch[: max(1, header - at)]
    check_one_opinion(gzip.compress(bytes(data), 1) if compress else bytes(data))


def test_zips() -> None:
    data = to_zip({"a": b"b"}).getvalue()
    for step in (1, 3, 1000):
        head = ZipHead("dicom")
        assert passed(head, data, step) == data
        assert head.media_type == ZIP
    for broken in (b"PK", b"Rar!....", to_zip({}).getvalue()):
        with pytest.raises(InvalidDicom):
            passed(ZipHead("dicom"), broken, 2)
