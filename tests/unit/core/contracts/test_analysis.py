"""When class and outline contradict each other, and in which words."""

from __future__ import annotations

import pytest

from core.contracts.analysis import describe_fault, find_fault, least_familiar
from core.contracts.common import InputCheckResult
from core.contracts.segmentation import Candidate

FOUR = ("glioma", "meningioma", "pituitary", "no_tumor")
CANDIDATE = Candidate(
    pixels=4,
    area_mm2=None,
    contours=(((2, 2), (2, 3), (3, 3), (3, 2)),),
    bounding_box=(2, 2, 2, 2),
    max_probability=0.3,
    threshold=0.015,
)


@pytest.mark.parametrize(
    ("label", "labels", "outlined", "fault"),
    [
        ("glioma", FOUR, True, None),
        ("no_tumor", FOUR, False, None),
        ("glioma", FOUR, False, "outline-empty"),
        ("pituitary", FOUR, False, "outline-empty"),
        ("no_tumor", FOUR, True, "class-no-tumor-but-outlined"),
        # It names a tumour whatever it sees.
        ("glioma", FOUR[:3], False, None),
        ("glioma", FOUR[:3], True, None),
    ],
)
def test_class_and_outline(label: str, labels: tuple[str, ...], outlined: bool, fault: str | None) -> None:
    assert find_fault(label, labels, outlined=outlined) == fault


def test_words_give_the_probability_and_offer_a_candidate_as_such() -> None:
    said = describe_fault("outline-empty", "glioma", 0.614, CANDIDATE)
    assert said.candidate == CANDIDATE
    assert said.detail.startswith("The likeliest class is glioma (probability 0.61), but no tumour is outlined.")
    assert "no outline" in said.detail
    bare = describe_fault("outline-empty", "glioma", 0.614, None)
    assert bare.candidate is None
    assert bare.detail.endswith("Nowhere is a tumour likely enough to be offered as a candidate.")


def test_beside_an_outline_no_candidate_is_offered() -> None:
    said = describe_fault("class-no-tumor-but-outlined", "no_tumor", 0.93, CANDIDATE)
    assert said.candidate is None
    assert "candidate" not in said.detail
    assert said.detail.startswith("The likeliest class is no_tumor (probability 0.93), but a tumour is outlined.")


def test_the_check_with_the_lowest_score_counts() -> None:
    familiar = InputCheckResult(in_distribution=True, score=0.8)
    foreign = InputCheckResult(in_distribution=False, score=0.3, reasons=("no head",))
    assert least_familiar(familiar, foreign) is foreign
    assert least_familiar(foreign, familiar) is foreign
    assert least_familiar(familiar, familiar.model_copy()) is familiar
