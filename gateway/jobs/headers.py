"""Headers and query of the volumes routes, read by hand: each fault is named, no value is repeated."""

from __future__ import annotations

import re
from typing import Final, TypeVar
from urllib.parse import urlencode

from pydantic import ValidationError
from starlette.datastructures import Headers, QueryParams

from core.contracts.base import Contract
from core.contracts.operations.jobs import LIST_JOBS, JobsQuery, SubmitQuery
from core.errors import FieldError, InvalidRequest

# RFC 7240: further preferences and parameters may stand beside it.
_WAIT: Final = re.compile(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?\s*(?:$|[,;])', re.IGNORECASE)
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


_Query = TypeVar("_Query", bound=Contract)


class ListQuery(JobsQuery):
    """The query of ``GET /v1/jobs`` as it is read, and followed by the next."""

    @classmethod
    def of(cls, query: QueryParams) -> ListQuery:
        """From the query of a request. Raises ``InvalidRequest`` that names each faulty parameter."""
        return _read(cls, query)

    def next_link(self, shown: int, total: int) -> str | None:
        """The header ``Link`` to the page after one of ``shown`` jobs; None after the last."""
        if not shown or self.offset + self.limit >= total:
            return None
        following = self.model_copy(update={"offset": self.offset + self.limit})
        return f'<{LIST_JOBS.path}?{urlencode(following.model_dump(exclude_none=True))}>; rel="next"'


def wants_experimental(query: QueryParams) -> bool:
    """Whether the query of a submission asks for experimental regions. Raises ``InvalidRequest`` for another value."""
    return _read(SubmitQuery, query).experimental


def _read(model: type[_Query], query: QueryParams) -> _Query:
    try:
        return model.model_validate(dict(query))
    except ValidationError as error:
        faults = [FieldError(f"query/{fault['loc'][0]}", fault["msg"]) for fault in error.errors()]
        places = ", ".join(fault.pointer for fault in faults)
        raise InvalidRequest(f"The query has wrong values at: {places}.", errors=faults) from error


def wait_preference(headers: Headers) -> int | None:
    """Seconds of ``Prefer: wait=N``; None without it. What else is preferred, or malformed, is ignored (RFC 7240)."""
    found = _WAIT.search(", ".join(headers.getlist("prefer")))
    return int(found[1]) if found else None


def idempotency_key(headers: Headers) -> str | None:
    """The ``Idempotency-Key``: 1 to 255 visible ASCII characters. Raises ``InvalidRequest`` for anything else."""
    keys = headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        detail = "Idempotency-Key must be 1 to 255 visible ASCII characters, and there once."
        raise InvalidRequest(detail, errors=[FieldError("header/Idempotency-Key", detail)])
    return keys[0]
