"""What a series holds: one volume or several, classic or enhanced, files or metadata, with what is told of it."""

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

from core.errors import InconsistentGeometry, InvalidRequest, MissingSequence
from core.imaging.dicom.metadata import read_metadata
from core.imaging.dicom.study import Source, preview_metadata
from tests.fixtures.images import make_dicom
from tests.fixtures.volumes import make_series
from tests.support.series_choice import (
    IR_FLAIR,
    SE_T1,
    SE_T2,
    preview,
    taken,
    why_not,
)
from tests.support.studies import SHAPE, head, item, read, study


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
    assert ["SeriesInstanceUID of its own" in text for text in read([*flair, *torn]).warnings] == [False, True]
    with pytest.raises(MissingSequence, match=r"6 series of a single slice look like t1.*SeriesInstanceUID"):
        read(torn)


def test_a_course_over_time_or_a_set_of_angles_fails_no_other_sequence() -> None:
    flair = study((5, "AX FLAIR", IR_FLAIR))
    course = study((4, "T1 TFE", {**SE_T1, "SOPInstanceUID": ""}), (4, "T1 TFE", {**SE_T1, "SOPInstanceUID": ""}))
    turned = [
        *make_series(head("LPS"), number=4, description="T1", elements=SE_T1)[:5],
        *make_series(head("PIL"), number=4, description="T1", elements={**SE_T1, "SOPInstanceUID": ""})[:5],
    ]
    for files, told in ((course, "course over time"), (turned, "angles")):
        assert taken([*flair, *files]) == {"flair": 5}
        assert why_not([*flair, *files], "t1") == {4: "several-volumes"}
        assert any("Series 4 is like t1" in text and told in text for text in read([*flair, *files]).warnings)
        with pytest.raises(InconsistentGeometry, match=rf"{told}.*series 4"):
            read(files)


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
