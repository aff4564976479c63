"""What a study holds besides the series that are wanted: it fails no job, and the remark says why it was left out."""

from __future__ import annotations

import re
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import uid

from core.errors import (
    InconsistentGeometry,
    InputTooLarge,
    InvalidDicom,
    MissingSequence,
    NotMr,
    RequestError,
    UnsupportedTransferSyntax,
    UnusableImage,
)
from core.imaging.dicom.file import read_meta
from core.imaging.dicom.identity import read_identity
from core.imaging.dicom.study import Source
from tests.fixtures import broken
from tests.fixtures.images import make_dicom
from tests.fixtures.volumes import make_series, to_zip
from tests.support.studies import FLAIR, SHAPE, head, placed, read, study

CAPTURE = uid.SecondaryCaptureImageStorage
GARBAGE = bytes(range(256)) * 4


def in_series(number: int, description: str = "ep2d_diff", **options: Any) -> bytes:
    """One file of a series of the study of ``FLAIR``."""
    elements = {
        "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": f"1.2.3.{number}", "SeriesNumber": number,
        "SeriesDescription": description, "SOPInstanceUID": f"1.2.3.{number}.1",
    }  # fmt: skip
    return make_dicom(elements={**elements, **options.pop("elements", {})}, **options)


def inserted(data: bytes, hostile: Callable[[], bytes]) -> bytes:
    """A file of a series with the hostile elements of another (they stand before group 0020) in their place."""
    made = hostile()
    end = read_meta(made).end
    length = len(made) - len(make_dicom())
    at = data.index(b"\x20\x00\x0d\x00")
    return data[:at] + made[end : end + length] + data[at:]


def syntaxes() -> list[tuple[str, bytes, str]]:
    return [
        (
            name,
            in_series(60, transfer_syntax=syntax, pixel_data=GARBAGE),
            "Series 60 was left out: 1 of 1 files.*" + why,
        )
        for name, syntax, why in (
            ("htj2k", uid.HTJ2K, "High-Throughput"),
            ("htj2k-lossless", uid.HTJ2KLossless, "High-Throughput"),
            ("jpeg-2000-part-2", uid.JPEG2000MC, "JPEG 2000"),
            ("mpeg", uid.MPEG2MPML, "MPEG2"),
            ("private", "1.2.3.4.5", "an unknown one"),
        )
    ]


BYSTANDERS = [
    *syntaxes(),
    ("video", in_series(61, modality="XC", transfer_syntax=uid.MPEG4HP41, pixel_data=GARBAGE), "1 DICOM .*not MR"),
    ("capture", in_series(61, sop_class=CAPTURE, transfer_syntax=uid.HTJ2K, pixel_data=GARBAGE), "1 DICOM .*not MR"),
    ("many-items", inserted(in_series(62), broken.many_items), "1 DICOM files that cannot be read.*sequence items"),
    ("many-elements", inserted(in_series(62), broken.many_elements), "1 DICOM files that cannot be read.*elements"),
    ("frames", in_series(62, elements={"NumberOfFrames": 100_000}), "Series 62.*100000 frames"),
    ("huge", in_series(62, elements={"Rows": 30_000, "Columns": 30_000}), "Series 62.*30000x30000"),
    ("colour", in_series(62, photometric="RGB"), "Series 62.*colour"),
    ("mosaic", in_series(62, elements={"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}), "Series 62.*mosaic"),
    ("no-place", in_series(62), "Series 62.*ImagePositionPatient is missing"),
    ("meta-only", bytes(128) + b"DICM", "1 DICOM files that cannot be read were left out: .*TransferSyntaxUID"),
    ("cut-in-meta", in_series(62)[:160], "1 DICOM files that cannot be read were left out: .*meta information"),
    ("cut-in-header", in_series(62)[:420], "left out"),
    ("deflate-broken", in_series(62, transfer_syntax=uid.DeflatedExplicitVRLittleEndian)[:500], "left out"),
    ("deflate-bomb", broken.deflate_bomb(), "1 DICOM files that cannot be read were left out: .*expands"),
    ("polyglot", in_series(62) + broken.zip_archive(), "Series 62.*Polyglot"),
    ("archive", to_zip({"a": b"b"}).getvalue(), "1 archives within the zip were left out unopened"),
    ("text", b"README", "1 files that are not DICOM"),
]  # fmt: skip


@pytest.mark.parametrize(("bystander", "remark"), [row[1:] for row in BYSTANDERS], ids=[row[0] for row in BYSTANDERS])
@pytest.mark.parametrize("first", [True, False])
def test_a_bystander_fails_no_job(bystander: bytes, remark: str, first: bool) -> None:
    found = read([bystander, *FLAIR] if first else [*FLAIR, bystander])
    assert np.array_equal(found.volumes["flair"].voxels, read(FLAIR).volumes["flair"].voxels)
    assert len(found.warnings) == 2
    assert re.search(remark, found.warnings[0])


@pytest.mark.parametrize("syntax", [uid.HTJ2K, uid.MPEG2MPML])
def test_what_cannot_be_read_fails_the_job_where_it_is_wanted(syntax: str) -> None:
    files = [in_series(3, "flair", transfer_syntax=syntax, pixel_data=GARBAGE) for _ in range(10)]
    with pytest.raises(UnsupportedTransferSyntax, match=r"\(series 3\)"):
        read(files)
    named = [in_series(60, "brain", transfer_syntax=syntax, pixel_data=GARBAGE), *FLAIR]
    with pytest.raises(UnsupportedTransferSyntax, match=r"\(series 60\)"):
        read(named, series={"1.2.3.60": "t2"})
    assert set(read(named, series={"1.2.3.60": None}).volumes) == {"flair"}


@pytest.mark.parametrize("cut", [10, 500])
@pytest.mark.parametrize("index", [0, 4, 9])
def test_a_slice_of_a_wanted_series_that_is_cut_off_fails_the_job(cut: int, index: int) -> None:
    """A head without its last slices would look whole."""
    files = list(FLAIR)
    files[index] = files[index][:-cut]
    with pytest.raises(InvalidDicom, match=r"\(series 3\)"):
        read(files)


def test_of_two_series_for_one_sequence_the_sound_one_is_taken() -> None:
    files = study((3, "flair", {}), (4, "flair", {"PixelSpacing": None}))
    found = read(files)
    assert np.array_equal(found.volumes["flair"].voxels, head(seed=3).voxels)
    assert found.warnings[0] == (
        "Series 4 was left out: 10 of 10 files cannot be used."
        " PixelSpacing is missing: a slice does not say its place or size."
    )


def test_a_sequence_of_which_nothing_can_be_read_is_left_out_with_a_remark() -> None:
    found = read(study((3, "flair", {}), (4, "t2", {"ImageOrientationPatient": None})))
    assert set(found.volumes) == {"flair"}
    assert "Series 4 was left out" in found.warnings[0]
    assert "ImageOrientationPatient is missing" in found.warnings[0]


@pytest.mark.parametrize("element", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("description", ["flair", "brain"])
def test_the_missing_element_is_named(element: str, description: str) -> None:
    with pytest.raises(InvalidDicom, match=rf"{element} is missing.*\(series 7\)"):
        read(study((7, description, {element: None})))


@pytest.mark.parametrize("element", ["Rows", "BitsAllocated", "PhotometricInterpretation"])
def test_a_missing_element_of_the_pixels_is_named(element: str) -> None:
    files = [in_series(7, "flair", without=(element,)) for _ in range(10)]
    with pytest.raises(InvalidDicom, match=rf"{element} is missing.*\(series 7\)"):
        read(files)


def test_a_slice_of_mr_that_does_not_say_so_is_no_bystander() -> None:
    with pytest.raises(NotMr, match=r"no Modality.*\(series 3\)"):
        read([*FLAIR[:-1], make_series(head(), number=3, description="flair", elements={"Modality": ""})[-1]])


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"PixelSpacing": [1.0, 0.0]}, "PixelSpacing is not a distance"),
        ({"PixelSpacing": [1.0]}, "PixelSpacing holds 1 numbers, 2 are needed"),
        ({"ImageOrientationPatient": [1.0, 0.0, 0.0]}, "ImageOrientationPatient holds 3 numbers, 6 are needed"),
    ],
)
def test_a_malformed_element_is_named(elements: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDicom, match=message):
        read(study((7, "flair", elements)))


def test_a_fault_is_told_besides_when_nothing_is_recognised() -> None:
    with pytest.raises(MissingSequence, match=r"No series can be told.*Series 8 was left out.*PixelSpacing is missing"):
        read(study((7, "brain", {}), (8, "brain", {"PixelSpacing": None})))


def test_one_identifier_for_all_slices() -> None:
    elements = {"SOPInstanceUID": "1.2.826.0.1.3680043.8.498.77"}
    found = read(study((3, "flair", elements)))
    assert np.array_equal(found.volumes["flair"].voxels, head(seed=3).voxels)
    assert "flair: Different slices bear one SOPInstanceUID; they were told apart by their positions." in found.warnings
    with pytest.raises(InconsistentGeometry, match="one position"):
        read(study((3, "flair", elements)) * 2)


def test_one_position_for_all_slices_and_one_series_a_slice_are_named() -> None:
    with pytest.raises(InconsistentGeometry, match="ImagePositionPatient is the same in all slices"):
        read(placed([5.0] * 10))
    torn = placed(range(0, 50, 5), {index: {"SeriesInstanceUID": f"1.2.9.{index}"} for index in range(10)})
    with pytest.raises(MissingSequence, match=r"10 series of a single slice look like flair.*SeriesInstanceUID"):
        read(torn)
    with pytest.raises(InvalidDicom, match="StudyInstanceUID is missing in some files"):
        read(placed(range(0, 50, 5), {3: {"StudyInstanceUID": ""}}))


def test_a_mosaic_that_is_wanted_is_refused_by_name() -> None:
    with pytest.raises(UnusableImage, match="mosaic"):
        read(study((3, "flair", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]})))


def test_where_nothing_can_be_used_the_fault_is_named() -> None:
    with pytest.raises(InvalidDicom, match="TransferSyntaxUID"):
        read([bytes(128) + b"DICM"] * 3)
    with pytest.raises(NotMr, match="CT"):
        read([in_series(1, modality="CT"), bytes(128) + b"DICM"])
    with pytest.raises(InvalidDicom, match="another archive"):
        read([to_zip({"a": b"b"}).getvalue(), b"text"])


def test_remarks_are_few_however_many_bystanders_there_are() -> None:
    many = [in_series(number, transfer_syntax=uid.HTJ2K, pixel_data=GARBAGE) for number in range(10, 50)]
    warnings = read([*FLAIR, *many]).warnings
    assert len(warnings) == 10
    assert "32 more kinds" in warnings[8]


def test_files_that_are_costly_to_refuse_are_refused_only_so_often() -> None:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 50_001
    costly = in_series(62).replace(
        b"\x20\x00\x0d\x00",
        struct.pack("<HH2sHI", 0x0009, 0x1002, b"OB", 0, len(items)) + items + b"\x20\x00\x0d\x00",
        1,
    )
    assert set(read([*FLAIR, *[costly] * 50]).volumes) == {"flair"}
    with pytest.raises(InputTooLarge):
        read([*FLAIR, *[costly] * 51])


@pytest.mark.parametrize(
    "syntax", [uid.DeflatedExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.ImplicitVRLittleEndian]
)
def test_an_identity_is_read_as_far_as_the_file_goes(syntax: str) -> None:
    data = in_series(9, transfer_syntax=syntax)
    assert read_identity(data).text("SeriesInstanceUID") == "1.2.3.9"
    assert read_identity(data).whole("SeriesNumber") == 9
    assert read_identity(data[:150]).text("Modality") == ""


@pytest.mark.parametrize("hostile", [broken.many_items, broken.many_elements, broken.nested_items])
def test_the_search_for_an_identity_is_given_up(hostile: Callable[[], bytes]) -> None:
    """Before half a million elements are read; what stands before them is known."""
    data = inserted(in_series(9), hostile)
    assert read_identity(data).text("Modality") == "MR"
    assert read_identity(data).text("SeriesInstanceUID") == ""


def test_an_identity_inflates_no_more_than_a_head() -> None:
    bomb = broken.deflate_bomb()
    tracemalloc.start()
    try:
        assert read_identity(bomb).text("Modality") == "MR"
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_each_sequence_says_which_series_it_was_taken_from() -> None:
    files = study((3, "flair", {}), (4, "t2", {"FrameOfReferenceUID": ""}), (5, "localizer", {}))
    sources = read(files).sources
    assert tuple(replace(one, score=None, confidence=None, reasons=(), alternatives=()) for one in sources) == (
        Source("t2", "1.2.3.4", 4, SHAPE[2], None),
        Source("flair", "1.2.3.3", 3, SHAPE[2], "1.2.3.0"),
    )


def test_no_problem_and_no_warning_holds_a_uid_of_the_study() -> None:
    texts: list[str] = list(read([*FLAIR, *(row[1] for row in BYSTANDERS)]).warnings)
    for files, named in (
        (study((7, "flair", {"PixelSpacing": None})), {}),
        (FLAIR, {"1.2.3.99": "flair"}),
        ([in_series(3, "flair", transfer_syntax=uid.HTJ2K, pixel_data=GARBAGE)], {}),
    ):
        with pytest.raises(RequestError) as caught:
            read(files, series=named)
        texts += [caught.value.detail, *(error.detail for error in caught.value.errors)]
    assert not [text for text in texts if "1.2.3" in text.replace("1.2.3.4.5", "")]
