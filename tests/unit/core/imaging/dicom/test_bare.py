"""Data sets without preamble or meta information are read; nothing else passes for one."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread, uid

from core.errors import InvalidDicom, RequestError
from core.imaging import sniff
from core.imaging.bare_dicom import claims_dicom, dressed, syntax_of
from core.imaging.decode import DEFAULT_LIMITS, decode
from core.imaging.dicom.file import read_meta
from tests.fixtures import broken
from tests.fixtures.images import make_dicom, make_head_slice, make_jpeg, make_png
from tests.fixtures.volumes import make_series
from tests.support.studies import SHAPE, head, read

WORDS = make_head_slice(64, 80, seed=4).astype(np.uint16) * 16
PLAIN = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)


def bare(data: bytes) -> bytes:
    return data[read_meta(data).end :]


def without_preamble(data: bytes) -> bytes:
    return data[132:]


def implicit(data: bytes) -> bytes:
    """The data set of a file in implicit encoding, as most bare ones are."""
    data_set = dcmread(io.BytesIO(data))
    data_set.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    file = io.BytesIO()
    data_set.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=True)
    return bare(file.getvalue())


@pytest.mark.parametrize("syntax", PLAIN, ids=lambda syntax: syntax.name)
def test_a_bare_slice_is_the_slice_of_its_file(syntax: uid.UID) -> None:
    file = make_dicom(WORDS, transfer_syntax=syntax)
    assert syntax_of(bare(file)) == syntax
    assert sniff.sniff(bare(file)) == sniff.DICOM
    for declared in (None, "application/dicom"):
        assert np.array_equal(decode(bare(file), declared).pixels, decode(file).pixels)


@pytest.mark.parametrize("syntax", [*PLAIN, uid.RLELossless, uid.DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("magic", [b"", b"DICM"])
def test_meta_information_without_a_preamble_is_heeded(syntax: uid.UID, magic: bytes) -> None:
    file = make_dicom(WORDS, transfer_syntax=syntax)
    assert np.array_equal(decode(magic + without_preamble(file)).pixels, decode(file).pixels)


@pytest.mark.parametrize("which", [range(3), range(7, 10), range(0, 10, 2), range(10)], ids=str)
def test_bare_slices_take_their_place_in_a_series(which: range) -> None:
    files = make_series(head(), number=3, description="flair")
    mixed = [implicit(data) if index in which else data for index, data in enumerate(files)]
    found = read(mixed)
    assert found.volumes["flair"].voxels.shape == SHAPE
    assert np.array_equal(found.volumes["flair"].voxels, read(files).volumes["flair"].voxels)
    assert not [warning for warning in found.warnings if "left out" in warning]


def test_compressed_pixels_without_meta_information_are_refused_by_name() -> None:
    with pytest.raises(InvalidDicom, match="does not say how"):
        decode(bare(make_dicom(WORDS, transfer_syntax=uid.RLELossless)))


def explicit(*elements: tuple[int, int, bytes, bytes]) -> bytes:
    return b"".join(struct.pack("<HH2sH", g, e, vr, len(value)) + value for g, e, vr, value in elements)


SOUND = ((8, 5, b"CS", b"ISO_IR 100"), (8, 8, b"CS", b"ORIGINAL"), (8, 0x60, b"CS", b"MR"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x00",
        bytes(1_000),
        b"\x08\x00" * 500,
        explicit(*SOUND[:2]),
        explicit(*reversed(SOUND)),
        explicit(SOUND[0], SOUND[1], (0x10, 0x10, b"PN", b"AB")),
        explicit(SOUND[0], SOUND[1], (8, 0x60, b"XX", b"MR")),
        explicit(SOUND[0], SOUND[1], (8, 0x60, b"CS", b"MR0")),
        explicit(SOUND[0], SOUND[1], (8, 0x60, b"CS", bytes(2_000))),
        explicit(*SOUND)[:-1],
        b"DICM" + bytes(200),
        make_png(),
        make_jpeg(),
        broken.TEXT,
        broken.NIFTI,
        broken.zip_archive(),
    ],
    ids=lambda data: f"{data[:6].hex()}-{len(data)}",
)
def test_nothing_else_passes_for_a_data_set(data: bytes) -> None:
    assert not claims_dicom(data)
    assert dressed(data) is data


def test_the_smallest_thing_that_passes_is_refused_as_dicom() -> None:
    data = explicit(*SOUND) + bytes(20)
    assert claims_dicom(data)
    with pytest.raises(InvalidDicom):
        decode(data)


@pytest.mark.parametrize("hostile", [broken.many_elements, broken.many_items, broken.nested_items])
def test_bare_data_sets_are_bounded_as_files_are(hostile: object) -> None:
    data = bare(hostile())  # type: ignore[operator]
    with pytest.raises(RequestError):
        decode(data, limits=replace(DEFAULT_LIMITS, max_bytes=len(data)))
