"""Renders ``core.contracts.operations`` as OpenAPI, for the services and for the gateway alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from core.contracts.base import DescribedAs
from core.contracts.operations.operation import (
    EXAMPLE_REQUEST_ID,
    OF_REFUSALS,
    Answer,
    Content,
    Header,
    Json,
    Operation,
    Parameter,
)
from core.contracts.problem import PROBLEM_MEDIA_TYPE, Problem
from core.errors import FalxError
from core.http.problems import problem_headers, problem_of

Mode: TypeAlias = Literal["validation", "serialization"]
# What callers send, and what they read: fields with a default are always there in an answer.
REQUEST: Final[Mode] = "validation"
ANSWER: Final[Mode] = "serialization"


class DescribedApp(FastAPI):
    """An application whose document shows ``operations``, and what the framework knows of routes without one."""

    def __init__(self, operations: Iterable[Operation], **settings: Any) -> None:
        super().__init__(**settings)
        self._operations = tuple(operations)

    def openapi(self) -> Json:
        """The document."""
        theirs, ours = super().openapi(), render(self._operations)
        components = theirs.get("components", {})
        return {
            **theirs,
            "paths": theirs["paths"] | ours["paths"],
            "components": {kind: components.get(kind, {}) | found for kind, found in ours["components"].items()},
        }


def render(operations: Iterable[Operation]) -> Json:
    """The members ``paths`` and ``components`` of a document on ``operations``."""
    rendering = _Rendering()
    paths: Json = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = rendering.operation(operation)
    return {"paths": paths, "components": rendering.components()}


def all_answers(operation: Operation) -> dict[int, Answer]:
    """The answers of an operation by status, refusals included, each with all of its headers."""
    answers = {
        status: replace(answer, headers=(*operation.headers, *answer.headers))
        for status, answer in operation.answers.items()
    }
    refusals = operation.all_refusals
    for status in {error.status for error in refusals}:
        answers[status] = _refusal(operation.headers, [error for error in refusals if error.status == status])
    return dict(sorted(answers.items()))


def _refusal(headers: tuple[Header, ...], refusals: Sequence[FalxError]) -> Answer:
    """The answer of one status: an example of each error, and the headers that all or some of them carry."""
    examples: dict[str, object] = {}
    for error in refusals:
        name = error.code if error.code not in examples else f"{error.code}-{len(examples) + 1}"
        problem = problem_of(error, EXAMPLE_REQUEST_ID).model_dump(mode="json", exclude_none=True)
        examples[name] = {"value": problem}
    carried = [problem_headers(error).keys() for error in refusals]
    theirs = (
        replace(header, required=all(header.name in names for names in carried))
        for header in OF_REFUSALS
        if any(header.name in names for names in carried)
    )
    return Answer(refusals[0].title, {PROBLEM_MEDIA_TYPE: Content(Problem, examples=examples)}, (*headers, *theirs))


class _PlainSchemas(GenerateJsonSchema):
    """Schemas in the words that generators of clients understand (docs/adr/0037)."""

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        """Of what is described by a contract, that contract."""
        described = schema.get("metadata", {}).get(DescribedAs.METADATA)
        return super().generate_inner(schema if described is None else described.__pydantic_core_schema__)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Without the default: some generators take such a field to be always there, in requests too."""
        return self.generate_inner(schema["schema"])

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        """An array of one kind: ``prefixItems`` makes most of them forget what it holds."""
        rendered = super().tuple_schema(schema)
        kinds = rendered.pop("prefixItems", None)
        if kinds:
            assert all(kind == kinds[0] for kind in kinds)  # noqa: S101  no contract mixes kinds
            rendered["items"] = kinds[0]
        return rendered

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Names that follow a pattern stand in ``propertyNames``, and what they name where it is looked for."""
        rendered = super().dict_schema(schema)
        for pattern, values in rendered.pop("patternProperties", {}).items():
            rendered |= {"additionalProperties": values, "propertyNames": {"pattern": pattern}}
        return rendered

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  the framework's signature
        """Never: a title repeats the name, and some generators name classes for it."""
        return False


class _Rendering:
    """Renders operations and keeps what they refer to."""

    def __init__(self) -> None:
        self._contracts: set[tuple[type[BaseModel], Mode]] = set()
        self._shared: dict[str, Json] = {"headers": {}, "parameters": {}}

    def components(self) -> Json:
        """What has been referred to."""
        models = sorted(self._contracts, key=str)
        _, schemas = models_json_schema(
            models, ref_template="#/components/schemas/{model}", schema_generator=_PlainSchemas
        )
        return {"schemas": schemas["$defs"], **self._shared}

    def operation(self, operation: Operation) -> Json:
        """One method of a path."""
        rendered: Json = {
            "operationId": operation.id,
            "summary": operation.summary,
            "tags": [operation.tag],
            "parameters": [self._parameter(parameter) for parameter in operation.parameters],
            "responses": {str(status): self._answer(answer) for status, answer in all_answers(operation).items()},
        }
        if operation.description:
            rendered["description"] = operation.description
        if operation.body is not None:
            rendered["requestBody"] = {"required": True, "content": self._contents(operation.body, REQUEST)}
        return rendered

    def _parameter(self, parameter: Parameter) -> Json:
        rendered: Json = {
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.place == "path",
            "description": parameter.description,
            "schema": parameter.schema,
        }
        if len(parameter.examples) == 1:
            rendered["example"] = parameter.examples[0]
        elif parameter.examples:
            rendered["examples"] = {str(example): {"value": example} for example in parameter.examples}
        return self._refer("parameters", parameter.shared_as, rendered)

    def _answer(self, answer: Answer) -> Json:
        rendered: Json = {
            "description": answer.description,
            # A document has them by status, whatever the media type.
            "headers": {header.name: self._header(header) for header in answer.all_headers},
        }
        if answer.content:
            rendered["content"] = self._contents(answer.content, ANSWER)
        return rendered

    def _header(self, header: Header) -> Json:
        rendered = {"description": header.description, "required": header.required, "schema": header.schema}
        return self._refer("headers", header.shared_as, rendered)

    def _contents(self, contents: Mapping[str, Content], mode: Mode) -> Json:
        return {media_type: self._content(content, mode) for media_type, content in contents.items()}

    def _content(self, content: Content, mode: Mode) -> Json:
        rendered = {"example": content.example, "examples": content.examples, "encoding": content.encoding}
        schema = self._schema(content.schema, mode)
        return {"schema": schema, **{name: value for name, value in rendered.items() if value}}

    def _schema(self, schema: Any, mode: Mode) -> Any:
        """``schema`` with references in the place of the contracts in it."""
        if isinstance(schema, dict):
            return {name: self._schema(value, mode) for name, value in schema.items()}
        if isinstance(schema, type):
            self._contracts.add((schema, mode))
            return {"$ref": f"#/components/schemas/{schema.__name__}"}
        return schema

    def _refer(self, kind: str, name: str | None, rendered: Json) -> Json:
        """``rendered``, or a reference to it where it has a name and nothing else is kept under that."""
        if name is None or self._shared[kind].setdefault(name, rendered) != rendered:
            return rendered
        return {"$ref": f"#/components/{kind}/{name}"}
