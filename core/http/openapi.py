"""Pieces of an OpenAPI document that the slice routes of every service share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from core.contracts.problem import PROBLEM_MEDIA_TYPE, Problem
from core.errors import FalxError
from core.http.problems import IMAGE_MEDIA_TYPES, problem_of

Json = dict[str, Any]

_BINARY: Json = {"type": "string", "format": "binary"}
_BASE64: Json = {"type": "string", "contentEncoding": "base64", "minLength": 1}

MODEL_DESCRIPTION = "NAME or NAME@VERSION; without a version the newest, without a name the default model."
EXAMPLE_REQUEST_ID = "4b2f7c1d9e5a4f0c8d3b6a1e2f7c9d05"
# The smallest image that is read, 16 x 16 and black, so that the example can be sent as it stands.
_EXAMPLE_IMAGE = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAADUlEQVR4nGNgGAXIAAABEAABoJMRpQAAAABJRU5ErkJggg=="


def image_body(sequences: tuple[str, ...] = ()) -> Json:
    """The request body that ``core.http.bodies.read_images`` takes; ``sequences`` are the further part names."""
    content: Json = {
        "multipart/form-data": {"schema": _multipart_schema(sequences)},
        "application/json": {"schema": _json_schema(sequences), "example": {"image": _EXAMPLE_IMAGE}},
    }
    for media_type in (*IMAGE_MEDIA_TYPES, "application/octet-stream"):
        content[media_type] = {"schema": _BINARY}
    return {"required": True, "content": content}


def query_parameters(query: type[BaseModel]) -> list[Json]:
    """The fields of a query model as parameters; ``core.serving.slice_requests.read_query`` reads them."""
    parameters = []
    for name, schema in query.model_json_schema()["properties"].items():
        description = schema.pop("description", "")
        schema.pop("title", None)
        parameters.append(
            {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
        )
    return parameters


def problem_responses(*examples: FalxError) -> dict[int | str, Json]:
    """One documented response per status, with the examples of every code that it may carry."""
    schema = _problem_schema()
    responses: dict[int | str, Json] = {}
    for error in examples:
        response = responses.setdefault(
            error.status,
            {
                "description": error.title,
                "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, "examples": {}}},
            },
        )
        problem = problem_of(error, EXAMPLE_REQUEST_ID).model_dump(mode="json", exclude_none=True)
        response["content"][PROBLEM_MEDIA_TYPE]["examples"][error.code] = {"value": problem}
    return responses


def _problem_schema() -> Json:
    """The schema of a problem in one piece: references into ``$defs`` would lead nowhere inside a larger document."""
    schema = Problem.model_json_schema()
    definitions = schema.pop("$defs")
    schema["properties"]["errors"]["items"] = definitions["ProblemError"]
    return schema


def _multipart_schema(sequences: tuple[str, ...]) -> Json:
    single: Json = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": _BINARY},
        "additionalProperties": False,
    }
    if not sequences:
        return single
    named = {
        "type": "object",
        "minProperties": 1,
        "properties": dict.fromkeys(sequences, _BINARY),
        "additionalProperties": False,
    }
    return {"oneOf": [single, named]}


def _json_schema(sequences: tuple[str, ...]) -> Json:
    single: Json = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": _BASE64},
        "additionalProperties": False,
    }
    if not sequences:
        return single
    images = {
        "type": "object",
        "minProperties": 1,
        "properties": dict.fromkeys(sequences, _BASE64),
        "additionalProperties": False,
    }
    named = {"type": "object", "required": ["images"], "properties": {"images": images}, "additionalProperties": False}
    return {"oneOf": [single, named]}
