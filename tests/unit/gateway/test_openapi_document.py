"""The document is complete, consistent and true to the routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from core.contracts.operations.bodies import INLINE_EXAMPLE
from core.contracts.problem import PROBLEM_MEDIA_TYPE
from gateway.app import create_app
from gateway.openapi.document import openapi_document
from gateway.settings import GatewaySettings
from gateway.slices import ANALYSIS_ROUTES, SLICE_ROUTES

Json = dict[str, Any]

DOCUMENT: Json = json.loads(openapi_document("1.2.3"))
OPERATIONS = {
    f"{method} {path}": operation for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
}


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(reference: str) -> Any:
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def check(schema: Json, example: object) -> None:
    jsonschema_rs.validate({**schema, "components": DOCUMENT["components"]}, example)


def test_version_and_dialect() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert "Research use only. Not a medical device." in DOCUMENT["info"]["description"]


def test_references_lead_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 10
    for reference in found:
        assert isinstance(resolve(reference), dict), reference


def test_operations_are_named_once() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids)) >= 9
    assert all(operation["summary"] for operation in OPERATIONS.values())


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_has_a_valid_example(name: str) -> None:
    for status, response in OPERATIONS[name]["responses"].items():
        for media_type, content in response.get("content", {}).items():
            if content["schema"].get("format") == "binary":
                continue
            examples = (
                [content["example"]] if "example" in content else [e["value"] for e in content["examples"].values()]
            )
            assert examples, (status, media_type)
            for example in examples:
                check(content["schema"], example)
                if media_type == PROBLEM_MEDIA_TYPE:
                    assert example["status"] == int(status)


@pytest.mark.parametrize(
    "name", [name for name, operation in OPERATIONS.items() if set(operation["tags"]) & {"slices", "paper"}]
)
def test_every_body_is_described(name: str) -> None:
    """As parts and as raw bytes. JSON is for its words: many generators of clients would offer nothing else."""
    content = OPERATIONS[name]["requestBody"]["content"]
    if name.endswith("/batch"):
        assert content.keys() == {"multipart/form-data"}
        return
    assert next(iter(content)) == "multipart/form-data"
    assert {"image/png", "application/dicom", "application/octet-stream"} <= content.keys()
    assert "application/json" not in content
    assert f"`{INLINE_EXAMPLE}`" in OPERATIONS[name]["description"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_headers_that_belong_to_a_status(name: str) -> None:
    wanted = {
        "401": "WWW-Authenticate",
        "405": "Allow",
        "415": "Accept-Post",
        "429": "Retry-After",
        "503": "Retry-After",
    }
    for status, response in OPERATIONS[name]["responses"].items():
        assert "X-Request-ID" in response["headers"]
        if header := wanted.get(status):
            assert header in response["headers"], status


@pytest.mark.parametrize("route", [*SLICE_ROUTES, *ANALYSIS_ROUTES], ids=lambda route: route.path)
def test_slice_operations_are_true_to_their_routes(route: Any) -> None:
    operation = OPERATIONS[f"post {route.path}"]
    documented = [resolve(p["$ref"]) if "$ref" in p else p for p in operation["parameters"]]
    assert {p["name"] for p in documented if p["in"] == "query"} == route.parameters
    assert operation["responses"]["200"]["content"].keys() == route.media_types
    wanted = {"400", "401", "403", "404", "405", "413", "415", "429", "502", "503", "504"}
    # A file that no model can use is told of in its item.
    wanted |= set() if route.path.endswith("/batch") else {"422"}
    assert wanted <= operation["responses"].keys()


def test_every_operation_on_jobs_names_its_refusals() -> None:
    for name, operation in OPERATIONS.items():
        if "volumes" in operation["tags"]:
            wanted = {"401", "403", "405", "503"} | ({"404", "410"} if "{job_id}" in name else set())
            assert wanted <= operation["responses"].keys(), name
    submit = OPERATIONS["post /v1/jobs"]["responses"]
    assert {"200", "202", "400", "409", "413", "415", "422", "429", "504", "507"} <= submit.keys()
    assert "304" in OPERATIONS["get /v1/jobs/{job_id}/results/report.json"]["responses"]
    assert {"206", "304", "416"} <= OPERATIONS["get /v1/jobs/{job_id}/results/{name}"]["responses"].keys()


def test_every_documented_path_is_served() -> None:
    served = {getattr(route, "path", None) for route in create_app(GatewaySettings()).routes}
    assert DOCUMENT["paths"].keys() <= served


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if "requestBody" in operation])
def test_multipart_bodies_are_flat_objects(name: str) -> None:
    """What generators of clients turn into one argument or one field for each part."""
    schema = OPERATIONS[name]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["type"] == "object"
    assert schema.keys().isdisjoint({"oneOf", "anyOf", "allOf"})
    binary = {"type": "string", "format": "binary"}
    for part, described in schema["properties"].items():
        assert described in (binary, {"type": "array", "minItems": 1, "items": binary}) or part == "job"


def test_one_status_has_one_media_type_but_where_the_caller_chooses() -> None:
    """Pictures of a segmentation are chosen by ``Accept``, and results are bytes of whatever type."""
    several = {
        name
        for name, operation in OPERATIONS.items()
        for response in operation["responses"].values()
        if len(response.get("content", {})) > 1
    }
    results = "get /v1/jobs/{job_id}/results/{name}"
    assert several == {"post /v1/segmentations", "post /v1/analyses", "post /predict_segmentation", results}
    for response in ("200", "206"):
        schemas = [content["schema"] for content in OPERATIONS[results]["responses"][response]["content"].values()]
        assert schemas == [{"type": "string", "format": "binary"}] * len(schemas)
