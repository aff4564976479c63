"""Who did what, and what came of it: one line a request of the API, in a log of its own, without patient data.

A line has the caller (the id of the key, or the address where there are no keys), the operation, its route, the job,
the status, the code of the problem and the id of the request. Nothing of a body, a query or a path is in it but the id
of a job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import UnsafeConfiguration
from core.http.middleware import CLIENT_GONE_STATUS, route_template
from core.http.requests import ClientGone
from gateway.auth import AUDITED
from gateway.openapi.public import PUBLIC

log = structlog.get_logger(__name__)

JOB: Final = "job_id"
"""Where a request's state has the job that came of it."""
STDOUT: Final = "stdout"
OFF: Final = "off"

_AUDITED_PATHS: Final = ("/v1/", "/predict_")
_OPERATIONS: Final = {(operation.method, operation.path): operation.id for operation in PUBLIC}
_JOB_DIGITS: Final = frozenset("0123456789abcdef")
_JOB_LENGTH: Final = 32


class _File(WatchedFileHandler):
    """A file for its owner alone, opened again once it has been moved. A full disk loses lines and fails no request."""

    def _open(self) -> Any:
        return open(
            self.baseFilename, self.mode, encoding=self.encoding, opener=lambda path, flags: os.open(path, flags, 0o600)
        )

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        log.error("audit line lost")


def open_audit_log(place: str) -> logging.Logger | None:
    """The log at ``place``: ``stdout`` or a file; None for ``off``. Raises ``UnsafeConfiguration``."""
    if place == OFF:
        return None
    try:
        handler = (
            logging.StreamHandler(sys.stdout) if place == STDOUT else _File(Path(place).absolute(), encoding="utf-8")
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise UnsafeConfiguration(f"FALX_AUDIT_LOG: the file cannot be written: {reason}.") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    # Apart from all others: what the level of the services' log hides must not be missing here.
    logger = logging.Logger("falx.audit", logging.INFO)
    logger.addHandler(handler)
    return logger


class Audit:
    """Wraps the application of the gateway; without a ``log`` it only passes on."""

    def __init__(self, app: ASGIApp, log: logging.Logger | None) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3: pass on, and write the line at the end of the answer."""
        if self._log is None or scope["type"] != "http" or not scope["path"].startswith(_AUDITED_PATHS):
            await self._app(scope, receive, send)
            return
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except (ClientGone, ClientDisconnect):
            status = CLIENT_GONE_STATUS
            raise
        except asyncio.CancelledError:
            status = 503
            raise
        finally:
            self._log.info(json.dumps(_line(scope, status), separators=(",", ":")))


def _line(scope: Scope, status: int) -> dict[str, object]:
    state = scope["state"]
    method, route = scope["method"], route_template(scope)
    fields = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "caller": state.get(AUDITED),
        "operation": _OPERATIONS.get(("GET" if method == "HEAD" else method, route)),
        "method": method if method.isalpha() and len(method) <= 16 else "OTHER",
        "route": route,
        "job_id": state.get(JOB) or _job_of(scope),
        "status": status,
        "problem": state.get("problem"),
        "request_id": state.get("request_id"),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _job_of(scope: Scope) -> str | None:
    """The job in the path, if it looks like one: whatever else stands there is the caller's own words."""
    job_id = scope.get("path_params", {}).get("job_id", "")
    return job_id if len(job_id) == _JOB_LENGTH and _JOB_DIGITS.issuperset(job_id) else None
