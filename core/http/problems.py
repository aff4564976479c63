"""The one place that turns errors into HTTP: RFC 9457 ``application/problem+json``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from core.contracts.operations.bodies import image_body
from core.contracts.operations.operation import JSON
from core.contracts.problem import PROBLEM_MEDIA_TYPE, Problem, ProblemError
from core.errors import (
    FalxError,
    FieldError,
    Forbidden,
    InputTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    NotReady,
    RateLimited,
    Unauthorized,
    UnsupportedMediaType,
    UnsupportedTransferSyntax,
)
from core.telemetry.metrics import Metrics

logger = structlog.get_logger("falx.problems")

# What the two slice routes take; a 415 raised elsewhere brings its own Accept-Post.
ACCEPT_POST = ", ".join((*image_body(), JSON))

PROBLEMS_PAGE = "/docs/problems"

_BY_STATUS: Mapping[int, type[FalxError]] = {
    kind.status: kind
    for kind in (
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        NotAcceptable,
        InputTooLarge,
        UnsupportedMediaType,
        RateLimited,
        NotReady,
    )
}


class InternalError(FalxError):
    """An unexpected failure; the caller learns nothing of its cause."""


def install_problem_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Answer every ``FalxError``, ``HTTPException`` and validation error of ``app`` with a problem.

    Unexpected exceptions are left to the shell's middleware, which logs them and calls ``internal_error``.
    """

    async def on_falx_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FalxError)  # noqa: S101  what the handler is registered for
        return problem_response(error, request.scope, metrics)

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        status = error.status_code if 400 <= error.status_code < 500 else None
        return problem_response(from_http_exception(error, request), request.scope, metrics, status=status)

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return problem_response(from_validation_error(error), request.scope, metrics)

    app.add_exception_handler(FalxError, on_falx_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_validation_error)


def problem_of(error: FalxError, request_id: str | None, status: int | None = None) -> Problem:
    """The problem that a caller reads. ``instance`` names the request, not its path, which could hold data."""
    return Problem(
        type=f"{PROBLEMS_PAGE}#{error.code}",
        title=error.title,
        status=status or error.status,
        detail=error.detail,
        code=error.code,
        instance=f"urn:falx:request:{request_id}" if request_id else None,
        errors=tuple(ProblemError(pointer=fault.pointer, detail=fault.detail) for fault in error.errors),
        retryable=error.retryable,
        request_id=request_id,
    )


def problem_response(
    error: FalxError, scope: Scope, metrics: Metrics | None = None, *, status: int | None = None
) -> Response:
    """``error`` as ``application/problem+json`` with the headers that its status asks for; counted as a rejection.

    ``status`` overrides the error's own for statuses that have no class in ``core.errors``. An error that no caller
    should see (a ``StartupError``, a bare ``FalxError``) is logged and hidden behind a 500.
    """
    if error.status >= 500 and not error.retryable and not isinstance(error, InternalError):
        logger.error("unexpected error", exc_info=error)
        error = internal_error()
    if metrics is not None:
        metrics.rejections.labels(error.code).inc()
    state = scope.setdefault("state", {})
    state["problem"] = error.code
    request_id: str | None = state.get("request_id")
    body = problem_of(error, request_id, status).model_dump_json(exclude_none=True)
    return Response(
        body, status_code=status or error.status, headers=problem_headers(error), media_type=PROBLEM_MEDIA_TYPE
    )


def internal_error() -> InternalError:
    """What a caller is told of an unexpected failure."""
    return InternalError("Something failed on our side. The operator finds the cause in the log under the request id.")


def problem_headers(error: FalxError) -> dict[str, str]:
    """The headers that the answer to ``error`` carries beside those of every answer."""
    headers = dict(error.headers)
    present = {name.lower() for name in headers}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif error.status in (429, 503) and "retry-after" not in present:
        headers["Retry-After"] = "1"
    if isinstance(error, UnsupportedMediaType | UnsupportedTransferSyntax) and "accept-post" not in present:
        headers["Accept-Post"] = ACCEPT_POST
    if error.status == 401 and "www-authenticate" not in present:
        headers["WWW-Authenticate"] = 'Bearer realm="falx"'
    return headers


def from_http_exception(error: HTTPException, request: Request) -> FalxError:
    """The framework's own refusals (no such route, wrong method, ...) in the terms of ``core.errors``."""
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return NotFound("There is nothing at this address; /docs lists what there is.", headers=headers)
    if error.status_code == 405:
        allowed = ", ".join(_allowed_methods(request)) or headers.get("Allow", "")
        return MethodNotAllowed(f"This address answers {allowed}.", headers={**headers, "Allow": allowed})
    if error.status_code >= 500 and error.status_code != 503:
        logger.error("unexpected error", exc_info=error)
        return internal_error()
    kind = _BY_STATUS.get(error.status_code, InvalidRequest)
    return kind(str(error.detail), headers=headers)


def _allowed_methods(request: Request) -> list[str]:
    """Methods of every route at this path; the framework's own Allow names only the first of them."""
    methods: set[str] = set()
    for route in _routes(request):
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            methods.update(getattr(route, "methods", None) or ())
    return sorted(methods)


def _routes(request: Request) -> Iterable[BaseRoute]:
    app = request.scope.get("app")
    return app.routes if isinstance(app, FastAPI) else ()


def from_validation_error(error: RequestValidationError) -> InvalidRequest:
    """A faulty query, header, path or body; the offending values are not repeated."""
    faults = tuple(_field_error(fault) for fault in error.errors())
    places = ", ".join(fault.pointer for fault in faults)
    return InvalidRequest(f"The request does not match its description at: {places}.", errors=faults)


def _field_error(fault: Mapping[str, Any]) -> FieldError:
    """``("query", "threshold")`` becomes ``query/threshold``, ``("body", "images", 0)`` the pointer ``#/images/0``."""
    if fault["type"] == "json_invalid":
        # Its second place is the offset of the fault, not a member.
        return FieldError(pointer="#", detail=f"is not JSON at character {fault['loc'][-1]}")
    place, *rest = (str(part) for part in fault["loc"])
    root = "#" if place == "body" else place
    return FieldError(pointer="/".join((root, *rest)), detail=str(fault["msg"]))
