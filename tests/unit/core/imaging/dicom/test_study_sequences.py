"""Which series of a study is which sequence: guessed, named by the caller, or refused."""

from __future__ import annotations

import random

import pytest

from core.errors import (
    InvalidDicom,
    MissingSequence,
)
from tests.fixtures.volumes import make_series
from tests.support.studies import FLAIR, head, placed, read, study


def test_a_whole_study_is_sorted_into_sequences_and_the_guess_is_told() -> None:
    files = study(
        (1, "Localizer", {}),
        (2, "t1_se_ax", {}),
        (3, "t2_tse_ax", {}),
        (4, "ax flair", {}),
        (5, "t1_se_ax", {"ContrastBolusAgent": "Gadovist"}),
        (6, "ep2d_diff_ADC", {}),
    )
    random.Random(2).shuffle(files)
    found = read(files)
    assert list(found.volumes) == ["t1", "t1ce", "t2", "flair"]
    for sequence, number in (("t1", 2), ("t2", 3), ("flair", 4), ("t1ce", 5)):
        assert found.volumes[sequence].voxels.sum() == head(seed=number).voxels.sum()
        assert f"Series {number} (10 slices) is taken as {sequence}: a guess from its description." in found.warnings


def test_timings_serve_where_descriptions_are_silent() -> None:
    timings = {"ScanningSequence": ["SE"], "EchoTime": 95, "RepetitionTime": 5_000}
    found = read(study((7, "brain axial", timings)))
    assert found.warnings == ("Series 7 (10 slices) is taken as t2: a guess from its timings.",)


def test_two_echoes_in_one_series_are_two_volumes() -> None:
    late = {"ScanningSequence": ["SE"], "EchoTime": 95, "RepetitionTime": 5_000}
    early = {**late, "EchoTime": 12, "SOPInstanceUID": ""}
    first = make_series(head(), number=7, description="dual echo", elements=late)
    second = make_series(head(seed=8), number=7, description="dual echo", elements=early)
    assert read([*second, *first]).volumes["t2"].voxels.sum() == head().voxels.sum()


def test_of_two_series_for_one_sequence_one_is_chosen_unless_the_caller_names_one() -> None:
    files = study((3, "flair ax", {}), (8, "flair cor", {}))
    found = read(files)
    assert found.volumes["flair"].voxels.sum() == head(seed=8).voxels.sum()
    assert "Of 2 series that may be it, this one was chosen" in found.warnings[0]
    assert [(one.number, one.reasons[0].partition(":")[0]) for one in found.sources[0].alternatives] == [
        (3, "lower-score")
    ]
    assert read(files, series={"1.2.3.3": "flair"}).volumes["flair"].voxels.sum() == head(seed=3).voxels.sum()


def test_a_reformatted_series_gives_way_to_what_was_measured() -> None:
    files = study(
        (3, "flair", {"ImageType": ["ORIGINAL", "PRIMARY"]}), (8, "flair", {"ImageType": ["DERIVED", "SECONDARY"]})
    )
    assert "Series 3 (10 slices)" in read(files).warnings[0]


def test_nothing_recognised_asks_for_names_or_nifti() -> None:
    files = study((3, "brain", {}))
    with pytest.raises(MissingSequence, match="NIfTI"):
        read(files)
    found = read(files, series={"1.2.3.3": "t2"})
    assert set(found.volumes) == {"t2"}
    assert found.warnings == ()
    with pytest.raises(MissingSequence, match="no MR series of the study"):
        read(files, series={"1.2.3.99": "t2"})


UNTOLD = study((3, "brain", {}), (4, "brain", {}), (5, "ax flair", {}))


def test_series_that_are_named_are_taken_whatever_their_headers_say() -> None:
    found = read(UNTOLD, series={"1.2.3.3": "t1ce", "1.2.3.5": "t2"})
    assert list(found.volumes) == ["t1ce", "t2"]
    assert found.volumes["t1ce"].voxels.sum() == head(seed=3).voxels.sum()
    assert found.volumes["t2"].voxels.sum() == head(seed=5).voxels.sum()
    assert found.warnings == ()


def test_series_that_are_not_named_are_guessed_for_the_sequences_still_free() -> None:
    found = read(UNTOLD, series={"1.2.3.3": "t1"})
    assert list(found.volumes) == ["t1", "flair"]
    assert found.warnings == ("Series 5 (10 slices) is taken as flair: a guess from its description.",)
    found = read(UNTOLD, series={"1.2.3.3": "flair"})
    assert {name: volume.voxels.sum() for name, volume in found.volumes.items()} == {"flair": head(seed=3).voxels.sum()}


def test_series_are_left_out_on_request() -> None:
    twice = study((3, "flair ax", {}), (8, "flair cor", {}))
    assert read(twice, series={"1.2.3.3": None}).volumes["flair"].voxels.sum() == head(seed=8).voxels.sum()
    with pytest.raises(MissingSequence, match="No series can be told"):
        read(twice, series={"1.2.3.3": None, "1.2.3.8": None})


@pytest.mark.parametrize("sequence", ["t2", None])
def test_a_series_that_the_study_does_not_hold_is_named(sequence: str | None) -> None:
    with pytest.raises(MissingSequence, match=r"no MR series of the study") as caught:
        read(FLAIR, series={"1.2.3.9": sequence})
    assert [fault.pointer for fault in caught.value.errors] == ["part/job#/series"]


def test_of_several_echoes_in_a_named_series_the_one_that_looks_like_it_is_taken() -> None:
    late = {"ScanningSequence": ["SE"], "EchoTime": 95, "RepetitionTime": 5_000}
    early = {**late, "EchoTime": 12, "SOPInstanceUID": ""}
    files = make_series(head(), number=7, elements=late) + make_series(head(seed=8), number=7, elements=early)
    assert read(files, series={"1.2.3.7": "t2"}).volumes["t2"].voxels.sum() == head().voxels.sum()
    with pytest.raises(MissingSequence, match="Which volume of series 7 is t1 cannot be told"):
        read(files, series={"1.2.3.7": "t1"})


def test_a_fault_of_a_named_series_is_told() -> None:
    with pytest.raises(InvalidDicom, match="series 4"):
        read(placed(range(0, 50, 5), {3: {"PixelSpacing": None}}), series={"1.2.9": "t2"})
