"""Problem details of RFC 9457, with the members that Falx adds."""

from __future__ import annotations

from pydantic import Field

from core.contracts.base import Contract

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ProblemError(Contract):
    """One fault inside the request; ``pointer`` names the part, parameter or JSON pointer."""

    pointer: str
    detail: str


class Problem(Contract):
    """One problem.

    ``type`` is a URI reference to the documented section of ``code``; ``retryable`` says that the same request may
    succeed later.
    """

    type: str
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str
    instance: str | None = None
    errors: tuple[ProblemError, ...] = ()
    retryable: bool = False
    request_id: str | None = None
