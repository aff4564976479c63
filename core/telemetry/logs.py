"""Structured logs: one JSON object a line on stderr, none of it of a patient.

Three guards: a key that could carry patient data or a secret loses its value (``redact``), exceptions are logged by
type and frames without their message (messages of image libraries quote what they read), and so are warnings.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import traceback
import warnings
from functools import lru_cache
from types import TracebackType
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

_SENSITIVE = re.compile(
    r"patient|birth|accession|physician|institution|study_?(uid|instance|description)|series_?(uid|instance)|sop_?instance"
    r"|file_?name|^path$|^url$|^query|body|payload|^content$|^pixels|^image$|^data$|dicom_?(header|dataset)"
    r"|authori[sz]ation|api[-_]?key|^key$|token|secret|password|cookie|^headers?$",
    re.IGNORECASE,
)

# Their warnings quote single values of what they read, and say nothing that a problem does not say.
_SILENT = ("pydicom", "highdicom", "python_multipart", "PIL")


def configure_logging(service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send everything that this process logs to ``stream`` (stderr): JSON lines, or colours on a terminal.

    ``service`` is named in each line. ``level`` is debug, info, warning or error; only debug shows the messages of
    unexpected exceptions. Call it once, before the first line is logged.
    """
    out = cast("TextIO", _Unfailing(sys.stderr if stream is None else stream))
    number = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors(service, with_messages=number <= logging.DEBUG)
    renderer: Processor = structlog.dev.ConsoleRenderer() if out.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _route_standard_library(out, number, shared, renderer)
    warnings.showwarning = _show_warning


def _shared_processors(service: str, *, with_messages: bool) -> list[Processor]:
    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    def render_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        error = _exception_of(event.pop("exc_info", None))
        if error is not None:
            event["exception"] = describe_exception(error, with_message=with_messages)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        add_service,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        render_exception,
        redact,
    ]


class _Unfailing:
    """A stream whose writing never fails: a full disk under the log must not make a request or a job fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what is held, if that can be done."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether somebody reads along."""
        return self._stream.isatty()


def _route_standard_library(out: TextIO, level: int, shared: list[Processor], renderer: Processor) -> None:
    """uvicorn, asyncio and libraries: the same lines through the same guards."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers = []
        server.propagate = True
        server.setLevel(max(level, logging.WARNING))
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@lru_cache(maxsize=1024)
def is_sensitive(key: str) -> bool:
    """Whether a value under ``key`` could be of a patient or a secret; remembered, as few keys recur on each line."""
    return _SENSITIVE.search(key) is not None


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor: each value whose key could carry patient data or a secret becomes ``[redacted]``, at any depth."""
    for key, value in event.items():
        if is_sensitive(key):
            event[key] = REDACTED
        elif isinstance(value, dict | list | tuple):
            event[key] = _redacted(value)
    return event


def _redacted(value: object) -> object:
    if isinstance(value, dict):
        return {key: REDACTED if is_sensitive(str(key)) else _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


def describe_exception(error: BaseException, *, with_message: bool = False) -> list[str]:
    """Type and frames of ``error`` and of its causes, innermost cause last; messages only on request."""
    lines = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        name = f"{type(current).__module__}.{type(current).__qualname__}"
        lines.append(f"{name}: {current}" if with_message else name)
        lines.extend(_frames(current.__traceback__))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines


def _frames(trace: TracebackType | None) -> list[str]:
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(trace)]


def _exception_of(info: object) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple):
        return info[1] if isinstance(info[1], BaseException) else None
    return sys.exc_info()[1] if info else None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Replaces ``warnings.showwarning``: where a warning came from, without its message or source line."""
    del message, file, line
    structlog.get_logger("falx.warnings").warning("warning", category=category.__name__, source=f"{filename}:{lineno}")
