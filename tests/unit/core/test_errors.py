"""The error tree is public: codes are unique in meaning, statuses are 4xx or a documented 5xx, each has a section."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core import errors

ROOT = Path(__file__).parents[3]


def descendants(cls: type[errors.FalxError]) -> set[type[errors.FalxError]]:
    return {cls}.union(*(descendants(child) for child in cls.__subclasses__()))


WIRE_ERRORS = sorted(
    descendants(errors.RequestError).union(descendants(errors.CapacityError))
    - {errors.RequestError, errors.CapacityError},
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", WIRE_ERRORS, ids=lambda cls: cls.__name__)
def test_each_error_has_a_code_a_status_and_a_documented_section(cls: type[errors.FalxError]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cls.code)
    assert cls.code != errors.FalxError.code
    assert cls.status in {400, 401, 403, 404, 405, 406, 408, 409, 410, 413, 415, 416, 422, 429, 502, 503, 504, 507}
    sections = re.findall(r"^## `?([a-z-]+)`?\s*$", (ROOT / "docs" / "problems.md").read_text(), flags=re.MULTILINE)
    assert cls.code in sections


def test_no_section_documents_a_code_that_does_not_exist() -> None:
    sections = re.findall(r"^## `?([a-z-]+)`?\s*$", (ROOT / "docs" / "problems.md").read_text(), flags=re.MULTILINE)
    assert set(sections) == {cls.code for cls in WIRE_ERRORS} | {errors.FalxError.code}


def test_only_capacity_and_rate_errors_invite_a_retry() -> None:
    retryable = {cls.code for cls in WIRE_ERRORS if cls.retryable}
    assert retryable == {
        "queue-full",
        "quota-exceeded",
        "queue-unavailable",
        "uploads-busy",
        "storage-full",
        "storage-unavailable",
        "rate-limited",
        "not-ready",
        "model-unavailable",
        "upstream-error",
        "deadline-exceeded",
    }


def test_the_drawing_in_the_docstring_names_every_class() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or "")) | {"FalxError"}
    assert drawn == {cls.__name__ for cls in descendants(errors.FalxError) if cls.__module__ == errors.__name__}


def test_an_error_carries_its_details() -> None:
    fault = errors.FieldError("query.model", "is empty")
    error = errors.QueueFull("wait", errors=[fault], retry_after_s=1.5, headers={"X-Test": "1"})
    assert (error.detail, error.errors, error.retry_after_s) == ("wait", (fault,), 1.5)
    assert error.headers == {"X-Test": "1"}
    assert str(error) == "wait"
