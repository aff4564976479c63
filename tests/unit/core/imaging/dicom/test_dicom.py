"""DICOM files, value by value against the array they were made from."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from core.errors import (
    DecompressionBomb,
    InvalidDicom,
    NotMr,
    RequestError,
    UnsupportedTransferSyntax,
    UnusableImage,
)
from core.imaging.decode import decode
from core.imaging.dicom.decoder import decode_dicom
from core.imaging.limits import ImageLimits
from tests.fixtures import broken
from tests.fixtures.images import make_dicom, make_head_slice

HEAD = make_head_slice(72, 90, seed=7)
WIDE = HEAD.astype(np.uint16) * 16
SIGNED = WIDE.astype(np.int16) - np.int16(1_500)


def stretched(values: Any) -> Any:
    wide = np.asarray(values, np.float32)
    return (wide - wide.min()) / (wide.max() - wide.min())


def pixels_of(data: bytes) -> Any:
    return decode(data, "application/dicom").pixels


def windowed(values: Any, **elements: Any) -> Any:
    return pixels_of(make_dicom(values, elements=elements))


@pytest.mark.parametrize("values", [HEAD, WIDE, SIGNED, (HEAD // 2).astype(np.int8)], ids=lambda v: str(v.dtype))
def test_without_a_window_the_full_range_is_shown(values: Any) -> None:
    assert pixels_of(make_dicom(values)) == pytest.approx(stretched(values), abs=1e-6)


LOSSLESS = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
]


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda s: s.keyword)
@pytest.mark.parametrize(
    ("values", "bits"),
    [(HEAD, 8), (WIDE, 12), (WIDE * 16, 16), (SIGNED, 16)],
    ids=["8-bit", "12-bit", "16-bit", "signed"],
)
def test_lossless_syntaxes_equal_the_uncompressed_file(syntax: uid.UID, values: Any, bits: int) -> None:
    plain = pixels_of(make_dicom(values, bits_stored=bits))
    assert np.array_equal(pixels_of(make_dicom(values, bits_stored=bits, transfer_syntax=syntax)), plain)


@pytest.mark.parametrize(
    "syntax", [uid.JPEGBaseline8Bit, uid.JPEG2000, uid.JPEGLSNearLossless], ids=lambda s: s.keyword
)
def test_lossy_syntaxes_come_close(syntax: uid.UID) -> None:
    assert np.abs(pixels_of(make_dicom(HEAD, transfer_syntax=syntax)) - stretched(HEAD)).mean() < 0.02


def test_a_window_is_applied_after_rescaling() -> None:
    values = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
    shown = windowed(values, RescaleSlope="2", RescaleIntercept="-24", WindowCenter="500", WindowWidth="101")
    # LINEAR: black up to 500 - 0.5 - 50 = 449.5, then (x - 449.5) / 100.
    assert shown == pytest.approx(np.clip((values * 2.0 - 24 - 449.5) / 100, 0, 1), abs=1e-5)


def test_the_first_of_several_windows_counts() -> None:
    several = windowed(WIDE, WindowCenter=["600", "1000"], WindowWidth=["800", "50"])
    assert np.array_equal(several, windowed(WIDE, WindowCenter="600", WindowWidth="800"))


def test_the_window_function_is_followed() -> None:
    window = {"WindowCenter": "600", "WindowWidth": "800"}
    exact = windowed(WIDE, VOILUTFunction="LINEAR_EXACT", **window)
    assert exact == pytest.approx(np.clip((WIDE - 200.0) / 800, 0, 1), abs=1e-5)
    sigmoid = windowed(WIDE, VOILUTFunction="SIGMOID", **window)
    assert sigmoid == pytest.approx(1 / (1 + np.exp(-4 * (WIDE - 600.0) / 800)), abs=1e-5)


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": "600", "WindowWidth": "0"},
        {"WindowCenter": "600", "WindowWidth": "800", "VOILUTFunction": "CUBIC"},
    ],
)
def test_a_window_that_is_not_valid_is_said(elements: dict[str, str]) -> None:
    decoded = decode(make_dicom(WIDE, elements=elements))
    assert decoded.pixels == pytest.approx(stretched(WIDE), abs=1e-6)
    assert decoded.notes == ("The window of the file is not valid; the full range is shown.",)


def test_a_lookup_table_is_said_to_be_left_out() -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 0, 16]
    table.LUTData = np.arange(4, dtype=np.uint16).tobytes()
    decoded = decode(make_dicom(WIDE, elements={"VOILUTSequence": Sequence([table])}))
    assert "lookup table" in decoded.notes[0]


def test_monochrome1_is_the_inverse() -> None:
    for elements in ({}, {"WindowCenter": "600", "WindowWidth": "800"}):
        one = pixels_of(make_dicom(WIDE, photometric="MONOCHROME1", elements=elements))
        two = pixels_of(make_dicom(WIDE, elements=elements))
        assert one == pytest.approx(1 - two, abs=1e-6)


def test_padding_is_black_and_does_not_stretch_the_range() -> None:
    values = SIGNED.copy()
    values[:8] = -32_768
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        shown = pixels_of(make_dicom(values, photometric=photometric, elements={"PixelPaddingValue": -32_768}))
        plain = pixels_of(make_dicom(values[8:], photometric=photometric))
        assert shown[8:] == pytest.approx(plain, abs=1e-6)
        assert shown[:8].max() == 0


def test_unused_high_bits_do_not_show() -> None:
    overlay = WIDE | np.uint16(0x8000)
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless):
        shown = pixels_of(make_dicom(overlay, bits_stored=12, transfer_syntax=syntax))
        assert shown == pytest.approx(stretched(WIDE), abs=1e-6)


def test_the_middle_frame_is_used_and_said() -> None:
    frames = np.stack([np.roll(WIDE, 5 * n, axis=1) + np.uint16(n) for n in range(6)])
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless):
        decoded = decode(make_dicom(frames, transfer_syntax=syntax, bits_stored=16))
        assert decoded.pixels == pytest.approx(stretched(frames[3]), abs=1e-6)
        assert decoded.notes == ("The file has 6 frames; frame 4, the middle one, is used.",)


def item(**elements: Any) -> Dataset:
    data_set = Dataset()
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    return data_set


def test_enhanced_files_keep_attributes_in_functional_groups() -> None:
    frames = np.stack([WIDE, WIDE + np.uint16(100), WIDE])
    shared = item(PixelMeasuresSequence=Sequence([item(PixelSpacing=["0.5", "0.75"])]))
    per_frame = [
        item(FrameVOILUTSequence=Sequence([item(WindowCenter=str(500 + 100 * n), WindowWidth="801")])) for n in range(3)
    ]
    data = make_dicom(
        frames,
        sop_class=uid.EnhancedMRImageStorage,
        elements={
            "SharedFunctionalGroupsSequence": Sequence([shared]),
            "PerFrameFunctionalGroupsSequence": Sequence(per_frame),
        },
    )
    decoded = decode(data)
    assert decoded.spacing_mm == (0.5, 0.75)
    assert decoded.pixels == pytest.approx(np.clip((frames[1] - 199.5) / 800, 0, 1), abs=1e-5)


def test_spacing_modality_and_sequence_are_read() -> None:
    elements = {"PixelSpacing": ["0.9", "0.45"], "SeriesDescription": "AX T1 POST", "ContrastBolusAgent": "Gadovist"}
    decoded = decode(make_dicom(WIDE, elements=elements))
    assert (decoded.spacing_mm, decoded.modality, decoded.sequence) == ((0.9, 0.45), "MR", "t1ce")
    assert decoded.media_type == "application/dicom"
    assert decoded.colourfulness == 0


@pytest.mark.parametrize("spacing", [["0", "1"], ["1"], ["-1", "1"], None])
def test_a_spacing_that_is_no_distance_is_none(spacing: list[str] | None) -> None:
    assert decode(make_dicom(WIDE, elements={"PixelSpacing": spacing})).spacing_mm is None


@pytest.mark.parametrize(
    ("elements", "mentions"),
    [
        ({"RescaleSlope": "1e30"}, "RescaleSlope"),
        ({"BitsStored": 17}, "BitsStored"),
        ({"HighBit": 15, "BitsStored": 12}, "HighBit"),
        ({"NumberOfFrames": "0"}, "NumberOfFrames"),
        ({"PhotometricInterpretation": ""}, "PhotometricInterpretation"),
        ({"Columns": 0}, "Columns"),
    ],
)
def test_contradictions_name_the_element(elements: dict[str, Any], mentions: str) -> None:
    with pytest.raises(InvalidDicom, match=mentions):
        decode(make_dicom(WIDE, elements=elements))


def test_a_number_that_is_none_names_its_element() -> None:
    data = make_dicom(WIDE, elements={"RescaleSlope": "1.25", "RescaleIntercept": "0"})
    with pytest.raises(InvalidDicom, match="RescaleSlope"):
        decode(data.replace(b"1.25", b"1.2x"))


def test_other_modalities_are_refused_by_name() -> None:
    with pytest.raises(NotMr, match="CT"):
        decode(make_dicom(WIDE, modality="CT"))
    with pytest.raises(NotMr, match="Secondary Capture"):
        decode(make_dicom(WIDE, sop_class=uid.SecondaryCaptureImageStorage))
    with pytest.raises(NotMr, match="an unknown class"):
        decode(make_dicom(WIDE, sop_class="1.2.3"))


def test_a_compressed_frame_of_another_size_never_reaches_a_decoder() -> None:
    for syntax in (uid.JPEGBaseline8Bit, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1):
        data = make_dicom(HEAD, transfer_syntax=syntax, elements={"Rows": 71})
        with pytest.raises(InvalidDicom, match="holds 90x72 pixels"):
            decode(data)


def test_twelve_bit_lossy_jpeg_is_refused_by_name() -> None:
    data = bytearray(make_dicom(HEAD, transfer_syntax=uid.JPEGBaseline8Bit))
    data = data.replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.51")
    precision = data.index(b"\xff\xc0") + 4
    data[precision : precision + 1] = b"\x0c"
    with pytest.raises(UnsupportedTransferSyntax, match="12 bits"):
        decode(bytes(data))


def test_limits_are_applied_to_the_header() -> None:
    with pytest.raises(DecompressionBomb, match="90x72"):
        decode_dicom(make_dicom(HEAD), ImageLimits(max_pixels=6_000))
    with pytest.raises(UnusableImage, match="at least 80"):
        decode_dicom(make_dicom(HEAD), ImageLimits(min_side=80))
    with pytest.raises(DecompressionBomb, match="expands"):
        decode_dicom(
            make_dicom(HEAD, transfer_syntax=uid.DeflatedExplicitVRLittleEndian), ImageLimits(max_inflated_bytes=3_000)
        )


@pytest.mark.parametrize("preamble", [b"MZ\x90\0", b"\x7fELF", b"%PDF-1.4", b"PK\x03\x04", b"<html>"])
def test_a_preamble_that_runs_or_opens_elsewhere_is_refused(preamble: bytes) -> None:
    with pytest.raises(RequestError, match="Polyglot"):
        decode(broken.dicom_with_preamble(preamble), "application/dicom")


PATIENT = "DOE^JANE-19700101"


@pytest.mark.parametrize("cut", [200, 400, 700, 2_000])
def test_no_refusal_quotes_the_file(cut: int, caplog: pytest.LogCaptureFixture) -> None:
    elements = {"PatientName": PATIENT, "PatientID": PATIENT, "SeriesDescription": PATIENT, "PixelSpacing": ["1", "1"]}
    data = make_dicom(WIDE, elements=elements)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(RequestError) as refusal:
            decode(data[:cut])
        decode(data.replace(b"PN", b"DA"))
    assert "DOE" not in refusal.value.detail
    assert "DOE" not in caplog.text
    assert caught == []
