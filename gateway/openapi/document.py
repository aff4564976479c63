"""The document as it is served."""

from __future__ import annotations

import orjson

from core.contracts.base import DISCLAIMER
from core.contracts.operations.operation import Json
from core.errors import Unauthorized
from core.http.openapi import render
from gateway.openapi.public import PUBLIC

_DESCRIPTION = f"""Classifies slices of brain MRI and outlines tumours in slices and volumes. **{DISCLAIMER}**

Every refusal is a problem of RFC 9457 (`application/problem+json`) with a stable `code`; the codes are listed under
[/docs/problems](/docs/problems). `retryable` says whether the same request may succeed later, `Retry-After` when."""

_TAGS = [
    {"name": "slices", "description": "One slice in, one answer out."},
    {"name": "volumes", "description": "Volumes in; a job, its progress and its results out."},
    {"name": "models", "description": "Which models answer, how they were measured, where they run."},
    {"name": "service", "description": "For orchestrators and dashboards."},
    {"name": "paper", "description": "Aliases for front ends written against the paper's own API."},
]


_SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "API key, `falx_<id>_<secret>`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in another header."},
}
# Without configured keys, which only a loopback listener allows, no key is asked for.
_KEY_OR_LOOPBACK: list[Json] = [{"bearer": []}, {"apiKey": []}, {}]


def openapi_document(version: str) -> bytes:
    """The OpenAPI document in JSON."""
    rendered = render(PUBLIC)
    for operation in PUBLIC:
        if not any(isinstance(error, Unauthorized) for error in operation.refusals):
            rendered["paths"][operation.path][operation.method.lower()]["security"] = []
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Falx",
                "version": version,
                "summary": "Inference for brain-tumour MRI.",
                "description": _DESCRIPTION,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            # Of all operations that say nothing else: said of each, a generator takes the key to be required.
            "security": _KEY_OR_LOOPBACK,
            "tags": _TAGS,
            "paths": rendered["paths"],
            "components": {**rendered["components"], "securitySchemes": _SECURITY_SCHEMES},
        }
    )
