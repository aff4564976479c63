"""Problem details of RFC 9457, with the members that Falx adds."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from core.contracts.base import Contract, may_lack
from core.errors import public_codes

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

    model_config = ConfigDict(json_schema_extra=may_lack("instance", "request_id"))

    type: str
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    # An enumeration to callers; read here as any string, as a record may hold a code of another version.
    code: str = Field(json_schema_extra={"enum": list(public_codes())})
    instance: str | None = None
    errors: tuple[ProblemError, ...] = ()
    retryable: bool = False
    request_id: str | None = None
