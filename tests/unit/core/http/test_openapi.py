"""The shared pieces of the OpenAPI documents, held against what really happens."""

from __future__ import annotations

import base64

import pytest
from pydantic import BaseModel, ConfigDict, Field

from core.contracts.problem import Problem
from core.errors import InvalidImage, InvalidRequest, UnusableImage
from core.http.openapi import image_body, problem_responses, query_parameters
from core.http.problems import ACCEPT_POST
from core.imaging.decode import decode


class AQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    threshold: float | None = Field(default=None, gt=0, lt=1, description="Where to cut.")


def test_the_body_names_every_type_that_is_read() -> None:
    assert set(image_body()["content"]) == set(ACCEPT_POST.split(", "))


def test_the_example_is_an_image_that_can_be_sent() -> None:
    example = image_body()["content"]["application/json"]["example"]
    assert decode(base64.b64decode(example["image"])).shape == (16, 16)


def test_sequences_are_an_alternative_to_the_single_image() -> None:
    content = image_body(("t1", "flair"))["content"]
    single, named = content["multipart/form-data"]["schema"]["oneOf"]
    assert set(single["properties"]) == {"file"}
    assert set(named["properties"]) == {"t1", "flair"}
    single, named = content["application/json"]["schema"]["oneOf"]
    assert set(named["properties"]["images"]["properties"]) == {"t1", "flair"}


def test_problems_of_one_status_share_a_response() -> None:
    responses = problem_responses(InvalidImage("cut short"), InvalidRequest("no body"), UnusableImage("too small"))
    assert set(responses) == {400, 422}
    content = responses[400]["content"]["application/problem+json"]
    assert set(content["examples"]) == {"invalid-image", "invalid-request"}
    for shown in content["examples"].values():
        assert Problem.model_validate(shown["value"]).status == 400


def test_the_schema_of_a_problem_leads_nowhere_else() -> None:
    schema = problem_responses(InvalidImage("cut short"))[400]["content"]["application/problem+json"]["schema"]
    assert "$ref" not in str(schema)
    assert set(schema["properties"]) == set(Problem.model_fields)


@pytest.mark.parametrize("place", [0, 1])
def test_every_field_of_a_query_is_an_optional_parameter(place: int) -> None:
    parameter = query_parameters(AQuery)[place]
    assert (parameter["in"], parameter["required"]) == ("query", False)
    assert parameter["name"] == ("model", "threshold")[place]
    assert parameter["description"] == ("", "Where to cut.")[place]
