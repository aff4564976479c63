"""The judge of ``make chaos`` finds each kind of broken promise: stories are made up here, and nothing is started."""

from __future__ import annotations

import random
from typing import Any

import pytest

from drills.chaos.client import Cancel, Case, Diary, Kind, make_cases
from drills.chaos.judge import Story, comparable, lost, wrong_end
from drills.chaos.site import MAX_ATTEMPTS


def job(status: str, code: str | None = None, attempts: int = 1, name: str = "a") -> dict[str, Any]:
    problem = None if code is None else {"code": code}
    return {"id": name, "status": status, "problem": problem, "attempts": attempts, "results": []}


def story_of(kind: Kind, *jobs: dict[str, Any], later: int = 2) -> Story:
    """One case, accepted as job "a", followed by ``later`` others that nobody asks about."""
    cases = [Case(number, kind, "upright", urgent=False) for number in range(1 + later)]
    return Story(cases, Diary(accepted={0: "a"}), {one["id"]: one for one in jobs}, {}, ())


def test_a_seed_makes_the_same_jobs_of_every_kind() -> None:
    cases = make_cases(60, random.Random(7), poison=True)
    assert cases == make_cases(60, random.Random(7), poison=True)
    assert cases != make_cases(60, random.Random(8), poison=True)
    kinds = [case.kind for case in cases]
    assert [kinds.count(kind) for kind in ("poison", "cancel-running", "cancel-queued")] == [3, 3, 3]
    assert kinds[-2:] == ["good", "good"]
    assert "poison" not in [case.kind for case in make_cases(60, random.Random(7), poison=False)]


def test_what_is_lost_is_missed() -> None:
    assert list(lost(story_of("good", job("succeeded"), later=0))) == []
    assert "is lost" in "".join(lost(story_of("good", later=0)))
    assert "has not ended" in "".join(lost(story_of("good", job("running"), later=0)))
    assert "was not accepted" in "".join(lost(story_of("good", job("succeeded"), later=1)))
    twice = story_of("good", job("succeeded"), job("succeeded", name="b"), later=0)
    assert "no caller knows of" in "".join(lost(twice))


@pytest.mark.parametrize(
    ("kind", "ended", "right"),
    [
        ("good", job("succeeded"), True),
        ("good", job("cancelled"), False),
        ("good", job("failed", "job-crashed", MAX_ATTEMPTS), True),
        ("good", job("failed", "job-crashed", 1), False),
        ("good", job("failed", "invalid-nifti", MAX_ATTEMPTS), False),
        ("poison", job("failed", "job-crashed", MAX_ATTEMPTS), True),
        ("poison", job("failed", "job-crashed", MAX_ATTEMPTS - 1), False),
        ("poison", job("succeeded"), False),
    ],
)
def test_how_a_job_may_end(kind: Kind, ended: dict[str, Any], *, right: bool) -> None:
    story = story_of(kind, ended)
    assert (list(wrong_end(story.cases[0], story)) == []) is right


def test_the_last_jobs_may_not_fail_at_all() -> None:
    story = story_of("good", job("failed", "job-crashed", MAX_ATTEMPTS), later=1)
    assert "all was quiet" in "".join(wrong_end(story.cases[0], story))


@pytest.mark.parametrize(("answer", "status", "right"), [(202, "cancelled", True), (202, "succeeded", False)])
def test_what_was_cancelled_stays_so(answer: int, status: str, *, right: bool) -> None:
    story = story_of("cancel-queued", job(status))
    story.diary.cancels[0] = Cancel("a", 0.0, answer)
    assert (list(wrong_end(story.cases[0], story)) == []) is right


def test_an_end_is_the_end() -> None:
    story = story_of("good", job("succeeded"))
    story.diary.ends["a"] = ("succeeded", {"segmentation.nii.gz": "other bytes"})
    assert "ended succeeded and is now succeeded" in "".join(wrong_end(story.cases[0], story))


def test_results_are_compared_without_what_is_a_jobs_own() -> None:
    assert comparable({"report.json": "1", "segmentation.nii.gz": "2"}) == {"segmentation.nii.gz": "2"}
