"""Studies as scanners and sites make them: one series for each sequence, or none and a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence

from core.errors import InvalidRequest, MissingSequence, RequestError
from core.imaging.dicom.metadata import read_metadata
from core.imaging.dicom.study import Open, Preview, Source, preview_metadata, preview_study
from core.imaging.volume import Volume
from tests.fixtures.images import make_dicom
from tests.fixtures.volumes import make_affine, make_head, make_series, to_zip
from tests.support.studies import SHAPE, SPACING, head, item, read, study

SE_T1 = {"ScanningSequence": ["SE"], "EchoTime": 12, "RepetitionTime": 550}
SE_T2 = {"ScanningSequence": ["SE"], "EchoTime": 100, "RepetitionTime": 4500}
IR_FLAIR = {"ScanningSequence": ["SE", "IR"], "EchoTime": 100, "RepetitionTime": 9000, "InversionTime": 2500}
PREPARED = {
    "ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"], "EchoTime": 3, "RepetitionTime": 2000,
    "InversionTime": 900, "MRAcquisitionType": "3D",
}  # fmt: skip
GRADIENT = {"ScanningSequence": ["GR"], "EchoTime": 20, "RepetitionTime": 600}
ORIGINAL = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}
DERIVED = {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}


def preview(files: Any) -> Preview:
    return preview_study(to_zip(files))


def taken(files: Any) -> dict[str, int | None]:
    """Numbers by sequence, of a job and of the dry run alike."""
    found = preview(files)
    assert found.refusal is None
    assert found.sources == read(files).sources
    return {source.sequence: source.number for source in found.sources}


def why_not(files: Any, sequence: str) -> dict[int | None, str]:
    """The first reason against each alternative for a sequence."""
    found = preview(files)
    answers: tuple[Source | Open, ...] = (*found.sources, *found.left_open)
    told = next(one for one in answers if one.sequence == sequence)
    return {other.number: other.reasons[0].partition(":")[0] for other in told.alternatives}


def fine(orientation: str = "PIL", seed: int = 0) -> Volume:
    """A head in thin slices all over."""
    shape = (40, 40, 60)
    return make_head(shape, make_affine(orientation, (4.0, 4.0, 1.5), shape), seed=seed)


def at(clock: str, **elements: Any) -> dict[str, Any]:
    return {"AcquisitionTime": clock, **elements}


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


def test_of_repeats_before_contrast_the_latest_is_taken() -> None:
    files = study(
        (2, "AX T1", at("100200", **SE_T1)),
        (3, "AX T1", at("100700", **SE_T1)),
        (5, "AX T1 +GD", at("102400", **SE_T1)),
    )
    assert taken(files) == {"t1": 3, "t1ce": 5}
    assert why_not(files, "t1") == {2: "lower-score"}


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


@pytest.mark.parametrize("jitter", [0.0004, 0.02, 0.6])
def test_jitter_of_the_echo_time_is_one_volume(jitter: float) -> None:
    series = [
        make_series(head(), number=4, description="T1 SE", elements={**SE_T1, "EchoTime": echo})
        for echo in (12.0, 12.0 + jitter)
    ]
    files = [slices[index % 2] for index, slices in enumerate(zip(*series, strict=True))]
    assert taken(files) == {"t1": 4}
    assert read(files).volumes["t1"].voxels.shape == SHAPE


def echoes(number: int, description: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[bytes]:
    """Two volumes in one series."""
    made = [
        make_series(
            head(seed=seed), number=number, description=description, elements={**elements, "SOPInstanceUID": ""}
        )
        for seed, elements in ((1, first), (2, second))
    ]
    return [*made[0], *made[1]]


@pytest.mark.parametrize("description", ["Ax PD-T2 DE", "dual echo", "", "T2"])
def test_of_two_echoes_the_late_one_is_the_t2(description: str) -> None:
    files = echoes(4, description, {**SE_T2, "EchoTime": 15}, SE_T2)
    assert taken(files) == {"t2": 4}
    assert read(files).volumes["t2"].voxels.sum() == head(seed=2).voxels.sum()
    assert read(files, series={"1.2.3.4": "t2"}).volumes["t2"].voxels.sum() == head(seed=2).voxels.sum()


def test_magnitude_and_phase_in_one_series_are_told_apart() -> None:
    files = echoes(
        4,
        "T1 SE",
        {**SE_T1, "ImageType": ["ORIGINAL", "PRIMARY", "P"]},
        {**SE_T1, "ImageType": ["ORIGINAL", "PRIMARY", "M"]},
    )
    assert taken(files) == {"t1": 4}
    assert read(files).volumes["t1"].voxels.sum() == head(seed=2).voxels.sum()


def test_a_series_that_is_torn_apart_or_lies_nowhere_is_named_and_fails_no_other() -> None:
    flair = study((5, "AX FLAIR", IR_FLAIR))
    torn = [
        file
        for index in range(6)
        for file in make_series(head(), number=20 + index, description="T1 SE", elements=SE_T1)[index : index + 1]
    ]
    assert taken([*flair, *torn]) == {"flair": 5}
    assert set(why_not([*flair, *torn], "t1").values()) == {"too-few-slices"}
    with pytest.raises(MissingSequence, match=r"6 series of a single slice look like t1.*SeriesInstanceUID"):
        read(torn)


def enhanced(number: int, description: str, timings: Mapping[str, Any], seed: int = 0) -> bytes:
    """An object of one volume whose timings stand in its functional groups."""
    volume = head(seed=seed)
    inversion = {"InversionTimes": timings["ti"]} if "ti" in timings else {}
    modifier = {"InversionRecovery": "YES" if inversion else "NO", **inversion}
    shared, frames = Dataset(), []
    for group, elements in (
        ("PixelMeasuresSequence", {"PixelSpacing": [1.2, 1.0]}),
        ("PlaneOrientationSequence", {"ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]}),
        ("MRTimingAndRelatedParametersSequence", {"RepetitionTime": timings["tr"]}),
        ("MRModifierSequence", modifier),
    ):  # fmt: skip
        setattr(shared, group, Sequence([item(**elements)]))
    for z in range(SHAPE[2]):
        frame = item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[-9.5, -13.8, 5.0 * z - 22.5])]))
        frame.MREchoSequence = Sequence([item(EffectiveEchoTime=timings["te"])])
        frame.MRImageFrameTypeSequence = Sequence(
            [item(FrameType=timings.get("frame", ["ORIGINAL", "PRIMARY", "M", "NONE"]))]
        )
        frames.append(frame)
    return make_dicom(
        volume.voxels.transpose(2, 1, 0).round().astype(np.int16),
        sop_class=uid.EnhancedMRImageStorage,
        elements={
            "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": f"1.2.3.{number}", "SeriesNumber": number,
            "SOPInstanceUID": f"1.2.3.{number}.1", "FrameOfReferenceUID": "1.2.3.0", "SeriesDescription": description,
            "EchoPulseSequence": timings.get("echo", "SPIN"),
            "SharedFunctionalGroupsSequence": Sequence([shared]), "PerFrameFunctionalGroupsSequence": Sequence(frames),
            **timings.get("elements", {}),
        },
    )  # fmt: skip


def test_enhanced_objects_are_told_by_their_functional_groups() -> None:
    agent = {"ContrastBolusAgentSequence": Sequence([item(CodeValue="C-17800", CodeMeaning="Gadolinium")])}
    files = [
        enhanced(2, "", {"te": 12.0, "tr": 550.0}, 2),
        enhanced(3, "", {"te": 12.0, "tr": 550.0, "elements": agent}, 3),
        enhanced(4, "", {"te": 100.0, "tr": 4500.0}, 4),
        enhanced(5, "", {"te": 110.0, "tr": 9000.0, "ti": 2500.0}, 5),
        enhanced(6, "T2", {"te": 20.0, "tr": 600.0, "echo": "GRADIENT"}, 6),
        enhanced(7, "T1", {"te": 12.0, "tr": 550.0, "frame": ["ORIGINAL", "PRIMARY", "P", "NONE"]}, 7),
        enhanced(8, "", {"te": 110.0, "tr": 4500.0, "ti": 160.0}, 8),
    ]
    assert taken(files) == {"t1": 2, "t1ce": 3, "t2": 4, "flair": 5}


def test_metadata_without_pixels_are_chosen_from_alike() -> None:
    files = [
        *study((2, "T1", SE_T1), (3, "T1 KM", SE_T1), (4, "T2", SE_T2)),
        enhanced(5, "", {"te": 110.0, "tr": 9000.0, "ti": 2500.0}),
    ]
    listed = []
    for file in files:
        document = dcmread(DicomBytesIO(file)).to_json_dict()
        document["7FE00010"] = {"vr": "OW", "BulkDataURI": "https://pacs.example.org/bulk/1"}
        listed.append(document)
    found = preview_metadata(read_metadata(json.dumps(listed).encode()))
    assert found.sources == preview(files).sources
    assert {source.sequence: source.number for source in found.sources} == {"t1": 2, "t1ce": 3, "t2": 4, "flair": 5}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"[1]", b"[" * 2000, b'[{"00080060": {"vr": "CS", "Value": "MR"}}]']
)
def test_what_is_no_list_of_metadata_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_metadata(body)


def test_what_a_job_would_be_refused_for_is_told() -> None:
    found = preview(study((3, "brain", {})))
    assert isinstance(found.refusal, MissingSequence)
    assert found.sources == ()
    assert [(one.sequence, one.reasons[0].partition(":")[0]) for one in found.left_open] == [
        (name, "nothing-like-it") for name in ("t1", "t1ce", "t2", "flair")
    ]
    lost = study((3, "FLAIR", IR_FLAIR))
    del lost[4]
    assert "slices are missing" in str(preview(lost).refusal)


def test_a_source_says_what_it_rests_on() -> None:
    (source,) = read(study((3, "AX T2 FLAIR", IR_FLAIR))).sources
    assert (source.confidence, source.alternatives) == ("high", ())
    assert isinstance(source, Source)
    assert [reason.partition(":")[0] for reason in source.reasons[:2]] == ["flair-word", "inversion-of-fluid"]
    (named,) = read(study((3, "brain", {})), series={"1.2.3.3": "t2"}).sources
    assert (named.score, named.confidence, named.reasons) == (None, None, ("named-by-caller: The caller named it.",))
