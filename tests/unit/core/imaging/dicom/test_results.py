"""What results as DICOM bear of the patient, and what is done where an object is not what it was made of."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid

from core.errors import InvalidDicom, ResultCorrupt
from core.imaging.dicom.results import write
from core.imaging.dicom.results.findings import Findings
from core.imaging.dicom.results.reading import check_segmentation
from core.imaging.dicom.results.reference import Reference
from core.imaging.dicom.results.segments import segments_of
from core.imaging.dicom.results.stamp import Device
from core.imaging.dicom.results.write import Drawn, write_results
from core.imaging.dicom.study import read_study
from tests.fixtures.images import make_dicom
from tests.fixtures.volume_models import make_phantom
from tests.fixtures.volumes import make_affine, make_series, to_zip
from tests.support.dicom_results import MEASUREMENTS, OBJECTS, PICTURES, SEGMENTATION, evaluations, opened
from tests.support.studies import place

SHAPE = (31, 27, 25)
MEANING = {1: "necrotic_core", 2: "oedema", 3: "enhancing"}
VOLUME, LABELS = make_phantom(SHAPE, make_affine("LPS", (1.0, 1.2, 2.0), SHAPE, 20))
SEGMENTS = segments_of(LABELS, MEANING)
DEVICE = Device("1.0", "tumor-volume", "1", "ab" * 32)


def reference(**elements: Any) -> Reference:
    """Of a study of one series with these elements."""
    files = make_series(VOLUME, number=3, description="flair", elements=elements)
    return read_study(to_zip(files), referenced=True).references["flair"]


def written(source: Reference) -> dict[str, bytes]:
    drawn = Drawn(LABELS, Findings({}, {}, {}, MEANING, ()), np.zeros((8, 24, 3), np.uint8))
    return write_results(drawn, source, [source], DEVICE, datetime(2026, 5, 4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 192", "Wäng^XiaoDong=王^小東"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 144", "Юрий^Яшин"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 127", "قباني^لنزار"),
        ("ISO_IR 138", "שרון^דבורה"),
        ("ISO_IR 100", "Äneas^Rüdiger"),
    ],
)
def test_a_name_is_borne_in_its_own_characters(character_set: Any, name: str) -> None:
    elements = {"SpecificCharacterSet": character_set, "PatientName": name, "StudyDescription": "Kopf"}
    source = opened(make_series(VOLUME, elements=elements)[0])
    for data in written(reference(**elements)).values():
        found = opened(data)
        assert str(found.PatientName) == name
        assert found["PatientName"].value.original_string == source["PatientName"].value.original_string
        assert found.get("SpecificCharacterSet") == source.SpecificCharacterSet


@pytest.mark.parametrize("elements", [{}, {"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}])
def test_a_remark_beyond_ascii_breaks_no_character_set(elements: dict[str, Any]) -> None:
    source = reference(**elements)
    findings = Findings({}, {"oedema": "Dice 0.04 ± 0.01."}, {}, MEANING, ("5 mm² only.",))
    drawn = Drawn(LABELS, findings, np.zeros((8, 24, 3), np.uint8))
    report = write_results(drawn, source, [source], DEVICE, datetime(2026, 5, 4, tzinfo=UTC))[MEASUREMENTS]
    told = evaluations(report)
    assert told["oedema", "Reliability of the result"][1] == ["Dice 0.04 ? 0.01."]
    assert told["input", "Input check"][1][1:] == ["5 mm? only."]


def test_no_character_set_is_borne_as_none() -> None:
    """Bytes beyond ASCII without a word on what they are: as they came."""
    files = make_series(VOLUME, number=3, description="flair")
    latin = [file.replace(b"Doe^Jane", b"D\xf6e^J\xe4ne"[:8]) for file in files]
    source = read_study(to_zip(latin), referenced=True).references["flair"]
    for data in written(source).values():
        assert b"D\xf6e^J\xe4n" in data
        assert "SpecificCharacterSet" not in opened(data)


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless]
)
def test_a_name_arrives_from_every_encoding(syntax: str) -> None:
    """Of files that bear it in other orders of bytes, without its type, or packed."""
    elements = {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Юрий^Яшин", "PatientWeight": "71.5"}
    pixels = VOLUME.voxels.round().astype(np.int16)
    files = [
        make_dicom(
            pixels[:, :, k].T,
            transfer_syntax=syntax,
            elements=place(2.0 * k, FrameOfReferenceUID="1.2.0", SOPInstanceUID=f"1.2.9.{k + 1}", **elements),
        )
        for k in range(SHAPE[2])
    ]
    source = read_study(to_zip(files), referenced=True).references["flair"]
    for data in written(source).values():
        found = opened(data)
        assert (str(found.PatientName), found.PatientWeight) == ("Юрий^Яшин", 71.5)


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientBirthDate": "ABOUT 1960"},
        {"PatientSex": "female"},
        {"PatientName": "x" * 200},
        {"PatientID": "a\\b\\c", "StudyTime": "noon"},
    ],
)
def test_what_breaks_the_rules_is_borne_as_it_came_and_no_remark_quotes_it(
    elements: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pydicom.config.disable_value_validation():
        source = reference(**elements)
    files = written(source)
    for data in files.values():
        for value in elements.values():
            assert value.encode() in data
    said = "".join(capfd.readouterr())
    assert not [value for value in elements.values() if value in said]


def test_what_is_missing_is_there_and_empty() -> None:
    files = make_series(VOLUME, number=3, description="flair")
    bare = []
    for file in files:
        data_set = opened(file)
        del data_set.PatientName, data_set.PatientID
        data_set.save_as(buffer := io.BytesIO())
        bare.append(buffer.getvalue())
    found = opened(written(read_study(to_zip(bare), referenced=True).references["flair"])[MEASUREMENTS])
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate"):
        assert str(found[keyword].value or "") == ""


def test_that_a_study_is_without_identity_is_borne_where_it_says_how() -> None:
    said = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"}
    assert opened(written(reference(**said))[PICTURES]).DeidentificationMethod == "by hand"
    assert "PatientIdentityRemoved" not in opened(written(reference(PatientIdentityRemoved="YES"))[PICTURES])


def test_an_element_that_no_header_holds_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidDicom, match="StudyDescription is longer than 16384 bytes"):
        reference(StudyDescription="x" * 16_386)


def test_a_reference_shows_nothing_of_itself() -> None:
    source = reference()
    assert "Doe" not in repr(source)
    assert "1.2.3" not in repr(source)


def test_nothing_of_the_stand_ins_is_left() -> None:
    files = written(reference())
    for name in OBJECTS:
        assert b"2.25.1\0" not in files[name]
        assert b"2.25.25\0" not in files[name]
    uids = {one.value for data in files.values() for one in opened(data).iterall() if one.VR == "UI"}
    assert not [uid for uid in uids if isinstance(uid, str) and uid.startswith("2.25.") and len(uid) < 20]


def moved(data_set: Any) -> None:
    place = data_set.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    place.ImagePositionPatient[2] += 0.01


def swapped(data_set: Any) -> None:
    first, second = data_set.PerFrameFunctionalGroupsSequence[:2]
    places = first.PlanePositionSequence, second.PlanePositionSequence
    second.PlanePositionSequence, first.PlanePositionSequence = places


def flipped(data_set: Any) -> None:
    data_set.PixelData = data_set.PixelData[:-2] + bytes([data_set.PixelData[-2] ^ 1, data_set.PixelData[-1]])


def turned(data_set: Any) -> None:
    orientation = data_set.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = [-float(cosine) for cosine in orientation.ImageOrientationPatient]


def renumbered(data_set: Any) -> None:
    identified = data_set.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0]
    identified.ReferencedSegmentNumber = 2


def elsewhere(data_set: Any) -> None:
    data_set.FrameOfReferenceUID = "1.2.4"


@pytest.mark.parametrize("change", [moved, swapped, flipped, turned, renumbered, elsewhere])
def test_an_object_that_says_something_else_is_found_out(change: Any) -> None:
    source = reference()
    data_set = opened(written(source)[SEGMENTATION])
    check_segmentation(saved(data_set), LABELS, SEGMENTS, source)
    change(data_set)
    with pytest.raises(ResultCorrupt):
        check_segmentation(saved(data_set), LABELS, SEGMENTS, source)


def saved(data_set: Any) -> bytes:
    data_set.save_as(buffer := io.BytesIO())
    return buffer.getvalue()


def test_what_cannot_be_written_fails_without_a_word_of_the_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    def quoting(*_: Any) -> Any:
        raise ValueError("the name Doe^Jane is malformed")

    monkeypatch.setattr(write, "make_report", quoting)
    with pytest.raises(ResultCorrupt, match=r"^A result cannot be written as DICOM \(ValueError\)\.$") as caught:
        written(reference())
    assert caught.value.__suppress_context__
    assert not caught.value.retryable
