"""What bytes are, what they were declared to be, and what is said when the two differ."""

from __future__ import annotations

import pytest

from core.errors import InvalidDicom, InvalidImage, UnsupportedMediaType
from core.imaging.sniff import ACCEPTED, canonical, describe, resolve, sniff
from tests.fixtures import broken, images
from tests.fixtures.images import make_dicom, make_head_slice, make_jpeg, make_png

HEAD = make_head_slice(32, 32)
FILES = {
    "image/png": make_png(),
    "image/jpeg": make_jpeg(),
    "image/tiff": images.to_tiff(HEAD),
    "image/webp": images.to_webp(HEAD),
    "image/bmp": images.to_bmp(HEAD),
    "application/dicom": make_dicom(HEAD),
}


def test_every_accepted_type_is_recognised() -> None:
    assert set(FILES) == set(ACCEPTED)
    assert {media_type: sniff(data) for media_type, data in FILES.items()} == {name: name for name in FILES}


@pytest.mark.parametrize("declared", [None, "", "application/octet-stream"])
def test_the_bytes_decide_where_nothing_was_declared(declared: str | None) -> None:
    for media_type, data in FILES.items():
        assert resolve(data, declared) == media_type


@pytest.mark.parametrize("declared", sorted(FILES))
@pytest.mark.parametrize("actual", sorted(FILES))
def test_only_the_right_declaration_is_believed(declared: str, actual: str) -> None:
    if declared == actual:
        assert resolve(FILES[actual], declared) == actual
        return
    with pytest.raises(InvalidDicom if declared == "application/dicom" else InvalidImage) as caught:
        resolve(FILES[actual], declared)
    assert declared in caught.value.detail
    assert describe(FILES[actual]) in caught.value.detail


@pytest.mark.parametrize(
    ("declared", "meant"),
    [
        ("image/jpg", "image/jpeg"),
        ("IMAGE/PNG; charset=binary", "image/png"),
        ("image/x-ms-bmp", "image/bmp"),
        ("application/x-dicom", "application/dicom"),
        ("application/octet-stream; x=y", None),
        (None, None),
        ("image/gif", "image/gif"),
    ],
)
def test_spellings(declared: str | None, meant: str | None) -> None:
    assert canonical(declared) == meant


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIF89a" + bytes(99), "GIF"),
        (broken.zip_archive(), "ZIP"),
        (broken.PDF, "PDF"),
        (broken.HTML, "HTML"),
        (b"\n  <html>", "HTML"),
        (broken.SVG, "SVG"),
        (b"<svg/>", "SVG"),
        (b"<?xml version='1.0'?><note/>", "XML"),
        (broken.TEXT, "text"),
        (b'{"image": 1}', "JSON"),
        (broken.ELF, "ELF"),
        (b"MZ" + bytes(99), "Windows"),
        (broken.NIFTI, "NIfTI"),
        (b"\x1f\x8b\x08" + bytes(99), "gzip"),
        (b"\0\0\0\x20ftypavif" + bytes(99), "AVIF"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    ],
)
def test_foreign_formats_are_named(data: bytes, name: str) -> None:
    assert name in describe(data)
    with pytest.raises(UnsupportedMediaType, match=name) as caught:
        resolve(data, None)
    assert caught.value.headers["Accept-Post"] == ", ".join(ACCEPTED)


def test_a_caller_cannot_put_words_into_the_answer() -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        resolve(make_png(), "<script>alert(1)</script>/x\r\nSet-Cookie: a" + "y" * 500)
    assert "<" not in caught.value.detail
    assert "\n" not in caught.value.detail
    assert len(caught.value.detail) < 300


def test_an_empty_file_is_said_to_be_empty() -> None:
    for declared in (None, "image/png"):
        with pytest.raises(InvalidImage, match="empty"):
            resolve(b"", declared)


def test_a_file_of_two_formats_is_dicom_only_when_declared_so() -> None:
    both = broken.dicom_with_preamble(b"II*\0")
    assert resolve(both, "application/dicom") == "application/dicom"
    with pytest.raises(InvalidDicom, match="both DICOM and TIFF"):
        resolve(both, None)
    with pytest.raises(InvalidImage, match="Declared as image/tiff"):
        resolve(both, "image/tiff")
