"""Studies as scanners and sites make them: one series for each sequence, or none and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from core.errors import MissingSequence, RequestError
from core.imaging.volume import Volume
from tests.fixtures.images import make_dicom
from tests.fixtures.volumes import make_affine, make_series
from tests.support.series_choice import (
    DERIVED,
    GRADIENT,
    IR_FLAIR,
    ORIGINAL,
    PREPARED,
    SE_T1,
    SE_T2,
    at,
    fine,
    taken,
    why_not,
)
from tests.support.studies import SHAPE, SPACING, head, read, study


def test_the_usual_tumour_protocol() -> None:
    """Several T1, T1 with contrast in three planes, repeats, diffusion, perfusion, localizers."""
    files = [
        *study(
            (1, "localizer", at("100000", **GRADIENT)),
            (2, "t1_se_tra", at("100200", **SE_T1)),
            (3, "t2_tse_tra", at("100400", **SE_T2)),
            (4, "t2_tse_tra", at("100600", **SE_T2)),
            (5, "t2_tirm_tra_dark-fluid", at("100800", **IR_FLAIR)),
            (6, "ep2d_diff_trace", at("101000", ScanningSequence=["EP", "SE"])),
            (7, "ep2d_diff_ADC", at("101000", ImageType=["DERIVED", "PRIMARY", "ADC"])),
            (8, "ep2d_perf", at("101500", ScanningSequence=["EP", "GR"])),
            (9, "t1_se_tra_KM", at("102000", **SE_T1)),
            (12, "SUB", at("102000", ImageType=["DERIVED", "PRIMARY", "SUB"])),
        ),
        *make_series(
            fine(seed=10), number=10, description="t1_mpr_sag_KM", elements=at("102500", **PREPARED, **ORIGINAL)
        ),
        *make_series(
            fine("LPS", 11),
            number=11,
            description="t1_mpr_sag_KM_MPR_tra",
            elements=at("102500", **PREPARED, **DERIVED),
        ),
    ]
    assert taken(files) == {"t1": 2, "t1ce": 10, "t2": 4, "flair": 5}
    assert why_not(files, "t1ce") == {9: "lower-score", 11: "lower-score"}
    assert why_not(files, "t2") == {3: "lower-score"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"ContrastBolusAgent": "Gadovist"}),
        ({}, {"ContrastBolusVolume": 7.5}),
        ({"ContrastBolusVolume": 0}, {"ContrastBolusVolume": 7.5}),
        ({}, {"ContrastBolusRoute": "IV"}),
        ({"ContrastBolusAgent": "NONE"}, {"ContrastBolusAgent": "Dotarem"}),
    ],
)
def test_two_t1_of_one_name_are_told_apart_by_the_agent(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    assert taken(study((2, "t1_se_tra", {**SE_T1, **first}), (5, "t1_se_tra", {**SE_T1, **second}))) == {
        "t1": 2,
        "t1ce": 5,
    }


def test_a_coded_agent_counts() -> None:
    agent = Dataset()
    agent.CodeValue, agent.CodingSchemeDesignator, agent.CodeMeaning = "C-14891", "SRT", "Gadobutrol"
    files = study((2, "T1 SE", SE_T1), (3, "T1 SE", {**SE_T1, "ContrastBolusAgentSequence": Sequence([agent])}))
    assert taken(files) == {"t1": 2, "t1ce": 3}


def test_two_t1_of_one_name_are_told_apart_by_what_was_done_between_them() -> None:
    files = study(
        (2, "t1_se_tra", at("100200", **SE_T1)),
        (5, "ep2d_perf", at("101500", ScanningSequence=["EP", "GR"])),
        (6, "t1_se_tra", at("102400", **SE_T1)),
    )
    assert taken(files) == {"t1": 2, "t1ce": 6}


def test_an_agent_in_every_series_was_entered_for_the_examination() -> None:
    agent = {"ContrastBolusAgent": "Gadovist"}
    files = study(
        (2, "AX T1", at("100200", **SE_T1, **agent)),
        (3, "AX T2", at("100400", **SE_T2, **agent)),
        (4, "AX T1 +GD", at("102000", **SE_T1, **agent)),
    )
    assert taken(files) == {"t1": 2, "t2": 3, "t1ce": 4}


def test_of_repeats_before_contrast_the_latest_is_taken() -> None:
    files = study(
        (2, "AX T1", at("100200", **SE_T1)),
        (3, "AX T1", at("100700", **SE_T1)),
        (5, "AX T1 +GD", at("102400", **SE_T1)),
    )
    assert taken(files) == {"t1": 3, "t1ce": 5}
    assert why_not(files, "t1") == {2: "lower-score"}


def test_a_t1_that_comes_back_before_the_enhanced_ones_may_be_enhanced_itself() -> None:
    """Nothing says that the second was taken before contrast, and other series lie between."""
    files = study(
        (2, "AX T1", at("100200", **SE_T1)),
        (3, "AX T2", at("100700", **SE_T2)),
        (4, "AX T1", at("102200", **SE_T1)),
        (5, "COR T1 +GD", at("102400", **SE_T1)),
    )
    assert taken(files) == {"t1": 2, "t2": 3, "t1ce": 5}
    said = study((4, "AX T1 nativ", at("102200", **SE_T1)))
    assert taken([*files[:20], *said, *files[30:]])["t1"] == 4


def test_of_two_alike_of_which_nothing_is_said_the_first_is_the_t1() -> None:
    """The second may be after contrast: then it would be taken for what it is not."""
    assert taken(study((2, "AX T1", at("100200", **SE_T1)), (6, "AX T1", at("103000", **SE_T1)))) == {"t1": 2}


def test_a_t1_after_contrast_that_says_nothing_is_not_the_plain_one() -> None:
    files = study((3, "COR T1 +GD", at("102400", **SE_T1)), (4, "AX T1", at("103000", **SE_T1)))
    assert "t1" not in taken(files)


@pytest.mark.parametrize(
    ("description", "elements"),
    [
        ("T1 with and without contrast", {}),
        ("T1 nativ", at("104000")),
        ("T1", at("100000", ContrastBolusAgent="Gadovist")),
    ],
)
def test_in_doubt_a_t1_is_taken_for_neither(description: str, elements: Mapping[str, Any]) -> None:
    """What is said contradicts itself, or the times."""
    files = study((2, description, {**SE_T1, **elements}), (3, "T1 COR KM", at("102000", **SE_T1)), (4, "T2", SE_T2))
    assert taken(files) == {"t1ce": 3, "t2": 4}
    assert why_not(files, "t1")[2] == "contrast-in-doubt"
    assert any("t1 was left open (series 2)" in text and "Name the series" in text for text in read(files).warnings)
    with pytest.raises(MissingSequence, match=r"left open \(series 2\).*Name the series"):
        read(study((2, "T1 pre and post Gd", SE_T1)))


@pytest.mark.parametrize(
    ("description", "elements"),
    [
        ("T1 SUB", {"ImageType": ["DERIVED", "PRIMARY", "SUBTRACTION"]}),
        ("T1", {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}),
        ("T1", {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}),
        ("T1", {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}),
        ("T1", {"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]}),
        ("T2", {"ImageType": ["DERIVED", "PRIMARY", "T2_MAP"]}),
        ("T1 post", {"DerivationDescription": "Subtraction of series 3 from 7"}),
        ("T2", {"DiffusionBValue": 1000.0}),
        ("T2W", GRADIENT),
        ("T2 blood", {"ScanningSequence": ["EP", "GR"]}),
        ("T1 mask", {}),
        ("T1", {"BitsStored": 1, "HighBit": 0}),
        ("T1", {"LargestImagePixelValue": 1}),
        ("T2 TSE SAG", {**SE_T2, "BodyPartExamined": "CSPINE"}),
        ("T1 TSE SAG HWS", SE_T1),
        ("T1 FS", {**SE_T1, "BodyPartExamined": "NECK"}),
        ("T1 in/opp", {"ImageType": ["ORIGINAL", "PRIMARY", "OUT_PHASE"]}),
    ],
    ids=str,
)
def test_what_is_no_measured_image_of_the_head_is_left_out(description: str, elements: Mapping[str, Any]) -> None:
    files = study((4, description, dict(elements)), (5, "AX FLAIR", IR_FLAIR))
    if elements.get("BitsStored") == 1:
        files = [*study((5, "AX FLAIR", IR_FLAIR)), *masks(bits=1)]
    assert taken(files) == {"flair": 5}


def masks(bits: int = 16, value: int = 1) -> list[bytes]:
    """A mask of a lesion, called a T1."""
    pixels = np.zeros((20, 24), np.uint16)
    pixels[6:12, 8:14] = value
    return [
        make_dicom(
            pixels,
            bits_stored=bits,
            elements={
                "SOPInstanceUID": f"1.2.3.4.{z + 1}", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4",
                "SeriesNumber": 4, "SeriesDescription": "T1", "FrameOfReferenceUID": "1.2.3.0",
                "PixelSpacing": [1.0, 1.0], "ImagePositionPatient": [0.0, 0.0, 5.0 * z],
                "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            },
        )
        for z in range(10)
    ]  # fmt: skip


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_shows_itself_by_its_pixels(value: int) -> None:
    files = [*study((5, "AX FLAIR", IR_FLAIR)), *masks(value=value)]
    assert taken(files) == {"flair": 5}
    assert why_not(files, "t1") == {4: "two-values"}
    # Another series for the sequence is taken in its place.
    assert taken([*files, *study((6, "T1 SAG", SE_T1))]) == {"t1": 6, "flair": 5}
    with pytest.raises(RequestError, match="two values only"):
        read(masks(value=value))


def test_a_reformatted_t1_is_better_than_none() -> None:
    assert taken(study((4, "t1_mprage_MPR_tra", {**PREPARED, **DERIVED}), (5, "FLAIR", IR_FLAIR))) == {
        "t1": 4,
        "flair": 5,
    }


def test_thin_slices_all_over_the_head_come_before_a_part_of_it() -> None:
    part = make_series(
        head(seed=3), number=3, description="T1 pituitary", elements={**SE_T1, "MRAcquisitionType": "2D"}
    )
    whole = make_series(fine(), number=2, description="T1 MPRAGE", elements=PREPARED)
    assert taken([*part, *whole]) == {"t1": 2}


def test_what_lies_elsewhere_than_the_rest_is_left_out() -> None:
    """A spine that nothing calls one, in the same frame of reference."""
    low = make_affine("LPS", SPACING, SHAPE)
    low[2, 3] -= 300
    spine = make_series(Volume(head(seed=9).voxels, low), number=9, description="T2 SAG", elements=SE_T2)
    files = [*study((2, "T1 AX", SE_T1), (3, "FLAIR AX", IR_FLAIR), (4, "T1 AX KM", SE_T1)), *spine]
    assert taken(files) == {"t1": 2, "t1ce": 4, "flair": 3}
    assert why_not(files, "t2") == {9: "elsewhere"}
