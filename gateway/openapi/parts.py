"""Parameters, headers, schemas and answers that several operations share."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from core.contracts.base import Contract
from core.contracts.classification import Classification
from core.contracts.jobs import Job, JobList, ResultList
from core.contracts.problem import PROBLEM_MEDIA_TYPE, Problem
from core.contracts.segmentation import Segmentation
from core.contracts.service import ModelList, ModelSummary, Readiness
from core.errors import FalxError
from core.http.openapi import EXAMPLE_REQUEST_ID, problem_responses

Json = dict[str, Any]

CONTRACTS = (Classification, Segmentation, Job, JobList, ResultList, ModelList, ModelSummary, Readiness, Problem)

HEADERS: Json = {
    "RequestId": {
        "description": "The request's id: the caller's own X-Request-ID where it was sound, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "RetryAfter": {
        "description": "Seconds after which the same request has a good chance.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "NoStore": {
        "description": "Answers may hold patient data and must not be cached.",
        "required": True,
        "schema": {"type": "string", "const": "no-store"},
    },
    "WwwAuthenticate": {"description": "How to authenticate.", "required": True, "schema": {"type": "string"}},
    "AcceptPost": {"description": "The media types that are read.", "required": True, "schema": {"type": "string"}},
    "Allow": {"description": "The methods that are answered.", "required": True, "schema": {"type": "string"}},
}
_HEADERS_OF_STATUS = {
    401: ("WWW-Authenticate", "WwwAuthenticate"),
    405: ("Allow", "Allow"),
    415: ("Accept-Post", "AcceptPost"),
    429: ("Retry-After", "RetryAfter"),
    503: ("Retry-After", "RetryAfter"),
}

PARAMETERS: Json = {
    "Model": {
        "name": "model",
        "in": "query",
        "description": "`NAME` for its newest version, or `NAME@VERSION`; without it the default model answers.",
        "schema": {"type": "string"},
        "examples": {"name": {"value": "tumor-classifier"}, "version": {"value": "tumor-classifier@1"}},
    },
    "RequestTimeout": {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "Milliseconds that the caller waits at most, counted from the arrival of the request. Work that "
        "has not begun by then is never begun; the answer is 504.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 600000},
        "example": 10000,
    },
    "RequestId": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "An id of the caller's own, 1 to 128 of A-Z a-z 0-9 . _ -, found again in the answer "
        "and the logs; anything else is replaced by a new one. No patient data here.",
        "schema": {"type": "string"},
        "example": EXAMPLE_REQUEST_ID,
    },
    "Traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "W3C trace context, passed on to the model server as it is; so is `tracestate`.",
        "schema": {"type": "string"},
        "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    },
}

SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "API key, `falx_<id>_<secret>`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in another header."},
}
# Without configured keys, which only a loopback listener allows, no key is asked for.
KEY_OR_LOOPBACK: list[Json] = [{"bearer": []}, {"apiKey": []}, {}]


def schemas() -> Json:
    """The JSON schemas of every contract that is named in the document."""
    _, definitions = models_json_schema(
        [(contract, "validation") for contract in CONTRACTS], ref_template="#/components/schemas/{model}"
    )
    found: Json = definitions["$defs"]
    return found


def reference(kind: str, name: str) -> Json:
    """A reference into the components."""
    return {"$ref": f"#/components/{kind}/{name}"}


def parameters(*names: str) -> list[Json]:
    """The named query parameters and the headers that every call of the API may carry."""
    return [reference("parameters", name) for name in (*names, "RequestId", "Traceparent")]


def answer(description: str, schema: str, example: Contract, *, private: bool = True) -> Json:
    """A JSON answer."""
    content = {"application/json": {"schema": reference("schemas", schema), "example": _plain(example)}}
    return {"description": description, "headers": _headers(private=private), "content": content}


def problems(*examples: FalxError, private: bool = True) -> dict[str, Json]:
    """The refusals by status, each with an example per code and the headers that belong to it."""
    responses: dict[str, Json] = {}
    for status, response in problem_responses(*examples).items():
        response["content"][PROBLEM_MEDIA_TYPE]["schema"] = reference("schemas", "Problem")
        response["headers"] = _headers(private=private)
        if extra := _HEADERS_OF_STATUS.get(int(status)):
            name, component = extra
            response["headers"][name] = reference("headers", component)
        responses[str(status)] = response
    return responses


def _headers(*, private: bool) -> Json:
    headers = {"X-Request-ID": reference("headers", "RequestId")}
    if private:
        headers["Cache-Control"] = reference("headers", "NoStore")
    return headers


def _plain(contract: Contract) -> Json:
    return contract.model_dump(mode="json", exclude_none=isinstance(contract, Classification))
