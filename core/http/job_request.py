"""The part ``job`` of a body: a ``JobRequest`` in JSON, for all who read one."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from core.contracts.jobs import JobRequest
from core.contracts.operations.bodies import REQUEST_PART
from core.errors import FieldError, InvalidRequest
from core.http.multipart import StreamedPart, check_part_size

_MOST_BYTES: Final = 16 * 1024


async def read_job_request(part: StreamedPart) -> JobRequest:
    """The request in ``part``. Raises ``InputTooLarge``, and ``InvalidRequest`` with the place of each fault."""
    text = b""
    async for chunk in part.chunks:
        text += chunk
        check_part_size(part.name, len(text), _MOST_BYTES)
    try:
        return JobRequest.model_validate_json(text)
    except ValidationError as error:
        raise _fault(error) from error


def _fault(error: ValidationError) -> InvalidRequest:
    """The place of each fault; unknown fields and keys of ``series`` are the caller's own words and not repeated."""
    faults = []
    for fault in error.errors(include_input=False, include_context=False, include_url=False):
        unknown = fault["type"] == "extra_forbidden"
        places = fault["loc"][:1] if fault["loc"][:1] == ("series",) else fault["loc"]
        path = "" if unknown else "".join(f"/{place}" for place in places)
        known = ", ".join(JobRequest.model_fields)
        faults.append(
            FieldError(
                f"part/{REQUEST_PART}#{path}", f"has an unknown field; known: {known}" if unknown else fault["msg"]
            )
        )
    pointers = ", ".join(dict.fromkeys(fault.pointer for fault in faults))
    return InvalidRequest(f"The part {REQUEST_PART} does not match its description at: {pointers}.", errors=faults)
