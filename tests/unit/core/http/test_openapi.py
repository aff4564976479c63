"""How descriptions are rendered, and what they say of bodies held against what really happens."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from core.contracts.base import Contract, DescribedAs, may_lack
from core.contracts.classification import Classification
from core.contracts.operations.bodies import image_body, volume_body
from core.contracts.operations.operation import (
    OWN_REQUEST_ID,
    REQUEST_ID,
    Answer,
    Content,
    Header,
    Operation,
    query_parameters,
)
from core.contracts.problem import Problem
from core.errors import InvalidImage, InvalidRequest, QueueFull, UnsupportedMediaType, UnusableImage, public_codes
from core.http.openapi import DescribedApp, render
from core.http.problems import ACCEPT_POST

PATH = "/v1/things"


class AQuery(BaseModel):
    model: str | None = Field(default=None, description="Which one.", examples=["a", "b"])
    threshold: float | None = Field(default=None, gt=0, lt=1, description="Where to cut.", examples=[0.5])
    limit: int = Field(default=50, description="How many.")


OPERATION = Operation(
    id="doThings",
    route=f"POST {PATH}",
    tag="things",
    summary="Do things",
    answers={
        200: Answer(
            "Done.",
            {
                "application/json": Content(Classification),
                "image/png": Content({"type": "string"}, headers=(Header("X-Of-Pictures", "Of pictures."),)),
            },
        )
    },
    parameters=(OWN_REQUEST_ID, *query_parameters(AQuery)),
    refusals=(
        InvalidImage("cut short"),
        InvalidRequest("no body"),
        UnusableImage("too small"),
        UnsupportedMediaType("text"),
        UnsupportedMediaType("gzip", headers={"Accept-Encoding": "identity"}),
        QueueFull("full", retry_after_s=2),
    ),
    also=("GET",),
)


def rendered() -> Any:
    return render([OPERATION])


def responses() -> Any:
    return rendered()["paths"][PATH]["post"]["responses"]


def test_the_body_names_every_type_that_is_read() -> None:
    assert {*image_body(), "application/json"} == set(ACCEPT_POST.split(", "))


def test_sequences_stand_beside_the_single_image_in_one_flat_object() -> None:
    content: Any = image_body(("t1", "flair"))
    schema = content["multipart/form-data"].schema
    assert set(schema["properties"]) == {"file", "t1", "flair"}
    assert (schema["type"], schema["minProperties"], schema["additionalProperties"]) == ("object", 1, False)
    assert schema.keys().isdisjoint({"oneOf", "anyOf", "required"})


def test_the_description_of_a_job_comes_before_its_volumes() -> None:
    """Generated clients send parts in this order, and what cannot be had is refused before megabytes are uploaded."""
    schema: Any = volume_body()["multipart/form-data"].schema
    assert list(schema["properties"]) == ["job", "t1", "t1ce", "t2", "flair", "dicom"]


class Inner(Contract):
    place: tuple[int, int]
    note: str | None = None


class Outer(Contract):
    model_config = ConfigDict(json_schema_extra=may_lack("absent"))

    inner: Annotated[dict[str, Any], DescribedAs(Inner)] = Field(default_factory=dict)
    absent: str | None = None
    names: dict[Annotated[str, Field(pattern="^[a-z]$")], int] = Field(default_factory=dict)


def schemas(content: Content, *, sent: bool) -> Any:
    answers = {200: Answer("Done.", {} if sent else {"application/json": content})}
    body = {"application/json": content} if sent else None
    operation = Operation(id="a", route="POST /a", tag="a", summary="A", answers=answers, body=body)
    return render([operation])["components"]["schemas"]


def test_a_contract_may_stand_inside_a_schema_and_in_the_place_of_plain_json() -> None:
    found = schemas(Content({"type": "object", "properties": {"outer": Outer}}), sent=False)
    assert found["Outer"]["properties"]["inner"] == {"$ref": "#/components/schemas/Inner"}
    assert found["Inner"]["properties"]["place"] == {
        "type": "array",
        "items": {"type": "integer"},
        "minItems": 2,
        "maxItems": 2,
    }
    assert Outer(inner={"anything": "goes"}).inner == {"anything": "goes"}


def test_what_has_a_default_is_always_there_in_answers_and_optional_in_requests() -> None:
    answered, sent = (schemas(Content(Outer), sent=sent)["Outer"] for sent in (False, True))
    assert (answered["required"], sent.get("required", [])) == (["inner", "names"], [])


def test_names_of_a_pattern_and_no_titles() -> None:
    names = schemas(Content(Outer), sent=True)["Outer"]["properties"]["names"]
    assert names["additionalProperties"] == {"type": "integer"}
    assert names["propertyNames"] == {"pattern": "^[a-z]$"}
    assert "title" not in names


def test_codes_of_problems_are_an_enumeration() -> None:
    schema = schemas(Content(Problem), sent=False)["Problem"]
    assert schema["properties"]["code"]["enum"] == list(public_codes())
    assert {"invalid-image", "internal-error", "job-crashed"} <= set(public_codes())
    assert "bundle-corrupt" not in public_codes()
    assert {"errors", "retryable"} <= set(schema["required"]) & schema["properties"].keys()
    assert "instance" not in schema["required"]


def test_problems_of_one_status_share_a_response() -> None:
    assert set(responses()) == {"200", "400", "405", "415", "422", "429"}
    content = responses()["400"]["content"]["application/problem+json"]
    assert set(content["examples"]) == {"invalid-image", "invalid-request"}
    for shown in content["examples"].values():
        assert Problem.model_validate(shown["value"]).status == 400


def test_each_of_several_problems_of_one_code_is_shown() -> None:
    assert len(responses()["415"]["content"]["application/problem+json"]["examples"]) == 2


def test_refusals_say_which_headers_they_carry() -> None:
    assert {"Accept-Post", "Accept-Encoding"} <= responses()["415"]["headers"].keys()
    assert responses()["415"]["headers"]["Accept-Encoding"]["required"] is False
    assert responses()["429"]["headers"]["Retry-After"] == {"$ref": "#/components/headers/RetryAfter"}
    assert "Retry-After" not in responses()["400"]["headers"]
    other = responses()["405"]["content"]["application/problem+json"]["examples"]["method-not-allowed"]["value"]
    assert other["detail"] == "This address answers GET, POST."


def test_headers_of_one_type_are_optional_for_the_status() -> None:
    headers = responses()["200"]["headers"]
    assert headers["X-Of-Pictures"]["required"] is False
    assert headers["X-Request-ID"] == {"$ref": "#/components/headers/RequestId"}


def test_what_is_referred_to_is_among_the_components() -> None:
    components = rendered()["components"]
    assert components["headers"]["RequestId"]["schema"] == REQUEST_ID.schema
    assert components["parameters"]["RequestId"]["name"] == "X-Request-ID"
    assert {"Classification", "ModelIdentity", "Problem", "ProblemError"} <= components["schemas"].keys()


@pytest.mark.parametrize(
    ("name", "schema", "examples"),
    [
        ("model", {"type": "string"}, ("a", "b")),
        ("threshold", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, (0.5,)),
        ("limit", {"type": "integer", "default": 50}, ()),
    ],
)
def test_every_field_of_a_query_is_an_optional_parameter(name: str, schema: Any, examples: tuple[Any, ...]) -> None:
    parameter = next(parameter for parameter in query_parameters(AQuery) if parameter.name == name)
    assert (parameter.place, parameter.schema, tuple(parameter.examples)) == ("query", schema, examples)
    found = next(found for found in rendered()["paths"][PATH]["post"]["parameters"] if found.get("name") == name)
    assert found["required"] is False
    assert ("example" in found, "examples" in found) == (len(examples) == 1, len(examples) > 1)


def test_an_application_shows_its_operations_beside_routes_of_its_own() -> None:
    app = DescribedApp([OPERATION])

    @app.get("/other")
    async def other() -> str:
        return ""

    document = app.openapi()
    assert set(document["paths"]) == {PATH, "/other"}
    assert document == app.openapi()
