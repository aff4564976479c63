"""What the drills hold against an answer, a process and a run; made up here, nothing is started."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from drills.__main__ import DRILLS, Result, page
from drills.callers import PATHS, Call, Callers, alike
from drills.restarts import Death, faults_of
from drills.soak import Footprint, growth
from drills.soak import faults_of as soak_faults

CLASSIFY, SEGMENT = PATHS
CLASS = {"label": "glioma", "probabilities": {"glioma": 0.9, "no_tumor": 0.1}}


@pytest.mark.parametrize(
    ("answer", "first", "same"),
    [
        (CLASS, CLASS, True),
        ({**CLASS, "probabilities": {"glioma": 0.9004, "no_tumor": 0.0996}}, CLASS, True),
        ({**CLASS, "probabilities": {"glioma": 0.91, "no_tumor": 0.09}}, CLASS, False),
        ({**CLASS, "label": "no_tumor"}, CLASS, False),
        ({"tumor_pixels": 1003}, {"tumor_pixels": 1000}, True),
        ({"tumor_pixels": 1010}, {"tumor_pixels": 1000}, False),
        ({"tumor_pixels": 1}, {"tumor_pixels": 0}, False),
    ],
)
def test_answers_are_compared_but_for_their_last_bits(
    answer: dict[str, object], first: dict[str, object], *, same: bool
) -> None:
    assert alike(answer, first) is same


@pytest.mark.parametrize(
    ("service", "path", "outcome", "right"),
    [
        ("classifier_service", CLASSIFY, 200, True),
        ("classifier_service", CLASSIFY, 503, True),
        ("classifier_service", CLASSIFY, 502, False),
        ("classifier_service", CLASSIFY, "other answer", False),
        ("classifier_service", CLASSIFY, "ConnectionRefusedError", False),
        ("classifier_service", SEGMENT, 503, False),
        ("gateway", SEGMENT, "ConnectionRefusedError", True),
        ("gateway", SEGMENT, "TimeoutError", False),
    ],
)
def test_what_a_death_excuses(service: str, path: str, outcome: int | str, *, right: bool) -> None:
    death = Death(service, at=10.0, back=20.0)
    assert (faults_of([Call(path, 15.0, 1.0, outcome)], [death]) == []) is right
    in_peace = faults_of([Call(path, 9.0, 1.0, outcome), Call(path, 25.0, 1.0, outcome)], [death])
    assert len(in_peace) == (0 if outcome == 200 else 2)


def footprints(memory: Sequence[float], files: Sequence[int]) -> list[Footprint]:
    return [{"gateway": pair} for pair in zip(memory, files, strict=True)]


def test_growth_is_counted_from_when_a_process_is_warm() -> None:
    warming = [100.0] * 30 + [300.0] * 70
    assert growth(footprints(warming, [10] * 100), "gateway") == (0.0, 0)
    assert growth(footprints(range(100), [10] * 90 + [25] * 10), "gateway") == (60.0, 15)


def test_a_leak_and_a_wrong_answer_break_a_soak() -> None:
    callers = Callers(0, {}, [Call(CLASSIFY, 1.0, 0.1, 200)])
    assert soak_faults(callers, footprints([100.0] * 100, [10] * 100)) == []
    leaking = soak_faults(callers, footprints(range(100), [10] * 90 + [25] * 10))
    assert len(leaking) == 2
    callers.calls.append(Call(CLASSIFY, 1.0, 0.1, "other answer"))
    assert soak_faults(callers, footprints([100.0] * 100, [10] * 100)) == ["1 answers: other answer"]


def test_the_page_keeps_the_last_report_of_each_drill() -> None:
    said = ["[   1.0 s] progress", "every promise was kept"]
    first, second = (Result(drill, drill.command, 0, 12.3, said) for drill in DRILLS[:2])
    before = page("", [second, first])
    assert before.count("every promise was kept") == 2
    assert before.index(f"## {DRILLS[0].name}: passed") < before.index(f"## {DRILLS[1].name}: passed")
    assert "progress" not in before
    after = page(before, [Result(DRILLS[0], ("x",), 1, 4.5, ["BROKEN: y"])])
    assert f"## {DRILLS[0].name}: **failed, exit code 1**" in after
    assert "BROKEN: y" in after
    assert after.count("every promise was kept") == 1
    assert max(map(len, after.splitlines())) <= 120
