"""The document as it is served."""

from __future__ import annotations

import orjson

from core.contracts.base import DISCLAIMER
from gateway.openapi.operations import paths
from gateway.openapi.parts import HEADERS, PARAMETERS, SECURITY_SCHEMES, schemas

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


def openapi_document(version: str) -> bytes:
    """The OpenAPI document in JSON."""
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
            "tags": _TAGS,
            "paths": paths(),
            "components": {
                "schemas": schemas(),
                "headers": HEADERS,
                "parameters": PARAMETERS,
                "securitySchemes": SECURITY_SCHEMES,
            },
        }
    )
