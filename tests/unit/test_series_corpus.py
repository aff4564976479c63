"""The corpus of series is sound, and its scorer counts what it says it counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.series_corpus import (
    FOLDER,
    SEQUENCES,
    Header,
    Row,
    Study,
    as_dataset,
    load_rows,
    load_studies,
    score,
    score_studies,
)

FILES = sorted(FOLDER.glob("*.jsonl"))
ROWS = [path for path in FILES if "studies" not in path.name]
STUDIES = [path for path in FILES if "studies" in path.name]
KEYS = {
    "SeriesDescription", "ProtocolName", "Manufacturer", "MagneticFieldStrength", "ScanningSequence",
    "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName", "PulseSequenceName", "EchoTime",
    "RepetitionTime", "InversionTime", "FlipAngle", "EchoTrainLength", "ImageType", "BodyPartExamined",
    "ContrastBolusAgent", "ContrastBolusVolume", "ContrastBolusRoute", "ContrastBolusAgentSequence", "slices",
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImageOrientationPatient", "AcquisitionTime",
    "SeriesNumber",
}  # fmt: skip


def row(truth: str, also: tuple[str, ...] = (), open_ok: bool = False) -> Row:
    return Row("made", "made", "siemens", "en", truth, {}, also, open_ok)


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_rows_hold_the_elements_that_the_readme_names_and_no_two_are_alike(path: Path) -> None:
    rows = load_rows(path)
    assert {key for row in rows for key in row.header} <= KEYS
    assert len({str(sorted(row.header.items())) for row in rows}) == len(rows)
    assert len({row.language for row in rows}) >= 6
    assert {row.vendor for row in rows} >= {"siemens", "ge", "philips", "canon"}


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_every_row_makes_a_data_set(path: Path) -> None:
    for row in load_rows(path):
        made = as_dataset(row.header, row.enhanced)
        assert made.get("SeriesDescription") == row.header.get("SeriesDescription")
        if not row.enhanced:
            assert made.get("EchoTime") == row.header.get("EchoTime")
            continue
        shared = made.SharedFunctionalGroupsSequence[0]
        timing = shared.MRTimingAndRelatedParametersSequence[0]
        assert "EchoTime" not in made
        assert shared.MREchoSequence[0].EffectiveEchoTime == row.header["EchoTime"]
        assert timing.RepetitionTime == row.header["RepetitionTime"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_right_series_of_a_study_are_in_it(path: Path) -> None:
    for study in load_studies(path):
        numbers = [header["SeriesNumber"] for header in study.series]
        assert len(set(numbers)) == len(numbers)
        assert set(study.right) == set(SEQUENCES)
        assert {number for found in study.right.values() for number in found or ()} <= set(numbers)


@pytest.mark.parametrize(
    ("one", "answer", "outcome"),
    [
        (row("t1"), "t1", "right"),
        (row("swi"), None, "right"),
        (row("mprage-inv", also=("t1",)), "t1", "right"),
        (row("t1"), None, "opened"),
        (row("t1", open_ok=True), None, "opened_ok"),
        (row("t1"), "t1ce", "swapped"),
        (row("t1ce", open_ok=True), "t1", "swapped"),
        (row("t2"), "flair", "wrong"),
        (row("adc"), "t2", "wrong"),
    ],
)
def test_an_answer_is_counted_once_and_for_what_it_is(one: Row, answer: str | None, outcome: str) -> None:
    counted = score([one], lambda header: answer)
    assert getattr(counted, outcome) == counted.total == 1


def test_a_chooser_may_answer_with_the_four_sequences_alone() -> None:
    with pytest.raises(ValueError, match="'swi'"):
        score([row("swi")], lambda header: "swi")


def test_choices_in_a_study_are_best_usable_missing_or_at_fault() -> None:
    series: tuple[Header, ...] = tuple({"SeriesNumber": number} for number in range(1, 7))
    study = Study("s", "made", "ge", "en", series, {"t1": (1, 2), "t1ce": (3,), "t2": (4,), "flair": None})
    good = score_studies([study], lambda series: {"t1": 2, "t1ce": 3, "t2": 4, "flair": None})
    assert (good.best, good.usable, good.missing, good.total) == (2, 1, 1, 4)
    bad = score_studies([study], lambda series: {"t1": 3, "t1ce": 1, "t2": None, "flair": 5})
    assert (bad.swapped, bad.opened, bad.wrong, bad.total) == (2, 1, 1, 4)
    assert bad.faults[0] == "swapped: s, t1: 3 of (1, 2)"
