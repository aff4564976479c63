"""``python -m tests`` sends arguments to the half that they belong to, and fails where either half does."""

from __future__ import annotations

import tomllib

import pytest

from tests.__main__ import NO_TESTS, ROOT, TRAINING, halves, verdict

METRICS = f"{TRAINING}/test_metrics.py"
BATCHER = "tests/unit/core/serving/test_batcher.py::test_one_item_gets_its_result_and_its_times"


@pytest.mark.parametrize(
    ("arguments", "services", "training"),
    [
        ([], [], [TRAINING]),
        (["-k", "batcher"], ["-k", "batcher"], ["-k", "batcher", TRAINING]),
        (["-x", METRICS], None, ["-x", METRICS]),
        (["-x", BATCHER], ["-x", BATCHER], None),
        ([BATCHER, METRICS], [BATCHER], [METRICS]),
    ],
)
def test_arguments_go_where_they_belong(
    arguments: list[str], services: list[str] | None, training: list[str] | None
) -> None:
    assert halves(arguments) == (services, training)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 0], 0),
        ([0, 1], 1),
        ([2, 0], 2),
        ([NO_TESTS, 0], 0),
        ([0, NO_TESTS], 0),
        ([NO_TESTS, 1], 1),
        ([NO_TESTS, NO_TESTS], NO_TESTS),
        ([-9, 0], -9),
    ],
)
def test_either_half_can_fail(codes: list[int], expected: int) -> None:
    assert verdict(codes) == expected


def test_no_test_of_training_is_left_to_the_services_environment() -> None:
    assert list((ROOT / TRAINING).glob("test_*.py"))
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    assert f"--ignore={TRAINING}" in options.split()
