"""Logs: JSON lines in which no patient appears."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.telemetry.logs import REDACTED, configure_logging, describe_exception, is_sensitive, redact

PATIENT = "DOE^JANE"


class Log(io.StringIO):
    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


class Terminal(Log):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    """What ``configure_logging`` changes in this process is changed back."""
    root, show = logging.getLogger(), warnings.showwarning
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, warnings.showwarning = handlers, show
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture
def log() -> Log:
    stream = Log()
    configure_logging("classifier", "info", stream)
    return stream


def test_a_line_is_one_json_object_with_service_level_and_time(log: Log) -> None:
    structlog.get_logger("any").info("model ready", model="tumor-classifier", ms=1.5, lines="a\nb")
    (line,) = log.lines
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "model ready",
        "model": "tumor-classifier",
        "ms": 1.5,
        "lines": "a\nb",
        "level": "info",
        "service": "classifier",
    }


def test_a_terminal_gets_readable_lines_instead() -> None:
    stream = Terminal()
    configure_logging("classifier", "info", stream)
    structlog.get_logger("any").info("model ready", patient_name=PATIENT)
    assert "model ready" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    assert PATIENT not in stream.getvalue()


def test_the_level_holds(log: Log) -> None:
    logger = structlog.get_logger("any")
    logger.debug("no")
    logger.warning("yes")
    assert [line["event"] for line in log.lines] == ["yes"]


def test_bound_context_is_in_every_line(log: Log) -> None:
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger("any").info("one")
    logging.getLogger("uvicorn.error").error("two")
    assert [line["request_id"] for line in log.lines] == ["r1", "r1"]


@pytest.mark.parametrize(
    "key",
    [
        "patient",
        "patient_id",
        "PatientName",
        "patientBirthDate",
        "accession_number",
        "AccessionNumber",
        "study_instance_uid",
        "StudyInstanceUID",
        "series_uid",
        "sop_instance_uid",
        "InstitutionName",
        "referring_physician",
        "filename",
        "file_name",
        "path",
        "url",
        "query",
        "query_string",
        "body",
        "request_body",
        "payload",
        "content",
        "image",
        "pixels",
        "data",
        "headers",
        "authorization",
        "Authorisation",
        "api_key",
        "apikey",
        "x-api-key",
        "key",
        "token",
        "access_token",
        "client_secret",
        "password",
        "cookie",
        "set-cookie",
        "dicom_header",
    ],
)
def test_a_key_that_could_carry_patient_data_or_a_secret_loses_its_value(log: Log, key: str) -> None:
    structlog.get_logger("any").info("seen", **{key: PATIENT})
    assert log.lines[0][key] == REDACTED
    assert PATIENT not in log.getvalue()


@pytest.mark.parametrize(
    "key",
    ["model", "route", "status", "duration_ms", "request_id", "code", "detail", "provider", "images", "address", "pid"],
)
def test_what_operators_need_stays(key: str) -> None:
    assert not is_sensitive(key)


def test_redaction_reaches_into_nested_values() -> None:
    event = {"event": "x", "upload": {"parts": [{"filename": PATIENT, "size": 3}, ({"patient_id": PATIENT},)]}}
    assert redact(None, "info", event) == {
        "event": "x",
        "upload": {"parts": [{"filename": REDACTED, "size": 3}, [{"patient_id": REDACTED}]]},
    }


def test_records_of_the_standard_library_take_the_same_way(log: Log) -> None:
    logging.getLogger("uvicorn.error").warning("careful", extra={"patient_name": PATIENT})
    logging.getLogger("asyncio").error("slow %s", "callback")
    assert [(line["event"], line["logger"], line["level"]) for line in log.lines] == [
        ("careful", "uvicorn.error", "warning"),
        ("slow callback", "asyncio", "error"),
    ]
    assert PATIENT not in log.getvalue()


def test_libraries_that_quote_what_they_read_are_silent(log: Log) -> None:
    for name in ("pydicom", "PIL", "python_multipart"):
        logging.getLogger(name).error("invalid value for PN: %s", PATIENT)
    logging.getLogger("pydicom.dataset").error("invalid value for PN: %s", PATIENT)
    assert log.getvalue() == ""


def fail() -> None:
    try:
        int(PATIENT)
    except ValueError as error:
        raise RuntimeError(f"cannot read {PATIENT}") from error


def test_an_exception_is_logged_by_type_and_place_but_without_its_message(log: Log) -> None:
    try:
        fail()
    except RuntimeError:
        structlog.get_logger("any").exception("unexpected error")
        logging.getLogger("uvicorn.error").exception("unexpected error")
    for line in log.lines:
        described = "\n".join(line["exception"])
        assert "builtins.RuntimeError" in described
        assert "builtins.ValueError" in described
        assert "test_logs.py" in described
        assert "in fail" in described
    assert len(log.lines) == 2
    assert PATIENT not in log.getvalue()


def test_debug_shows_the_messages_too() -> None:
    stream = Log()
    configure_logging("classifier", "debug", stream)
    try:
        fail()
    except RuntimeError as error:
        structlog.get_logger("any").error("unexpected error", exc_info=error)
    assert PATIENT in stream.getvalue()


def test_an_exception_that_is_its_own_cause_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert describe_exception(one) == ["builtins.ValueError", "builtins.ValueError"]


def test_a_suppressed_context_is_left_out() -> None:
    error = ValueError()
    error.__context__ = KeyError()
    assert describe_exception(error) == ["builtins.ValueError", "builtins.KeyError"]
    error.__suppress_context__ = True
    assert describe_exception(error) == ["builtins.ValueError"]


def test_a_warning_tells_its_place_but_not_its_words(log: Log) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # catch_warnings keeps the hook that stands when it is entered.
        warnings.warn(f"invalid value {PATIENT}", UserWarning, stacklevel=1)
    (line,) = log.lines
    assert (line["event"], line["category"]) == ("warning", "UserWarning")
    assert "test_logs.py" in line["source"]
    assert PATIENT not in log.getvalue()


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("classifier")
    structlog.get_logger("any").info("here")
    captured = capsys.readouterr()
    assert json.loads(captured.err)["event"] == "here"
    assert captured.out == ""
    assert sys.stderr is not sys.__stderr__


def test_a_full_disk_under_the_log_fails_nobody() -> None:
    """Every write to this device says that there is no room left."""
    with Path("/dev/full").open("w", buffering=1) as full:
        configure_logging("test", stream=full)
        structlog.get_logger().info("a line that is lost")
        logging.getLogger("uvicorn").warning("another one")
        configure_logging("test")
        with pytest.raises(OSError, match="No space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
