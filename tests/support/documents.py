"""An answer held against what is said of it: in an OpenAPI document, and in the description that it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.contracts.operations.operation import Header, Operation
from core.http.openapi import all_answers

Json = dict[str, Any]

# What HTTP itself needs, and what every answer carries: no document lists them.
PLAIN = frozenset(
    {"connection", "content-length", "content-type", "date", "transfer-encoding", "x-content-type-options"}
)


def resolved(document: Json, node: Any) -> Any:
    """``node`` with the components in the place of its references, but for schemas, which may refer to themselves."""
    if isinstance(node, list):
        return [resolved(document, item) for item in node]
    if not isinstance(node, dict):
        return node
    reference: str = node.get("$ref", "#/components/schemas/")
    if reference.startswith("#/components/schemas/"):
        return {name: resolved(document, value) for name, value in node.items()}
    _, _, kind, name = reference.split("/")
    return resolved(document, document["components"][kind][name])


def documented(document: Json, operation: Operation) -> Json:
    """What ``document`` says of ``operation``."""
    found: Json = resolved(document, document["paths"][operation.path][operation.method.lower()])
    return found


def check_answer(document: Json, operation: Operation, status: int, names: Iterable[str], media_type: str) -> None:
    """Every header of an answer is described for its status and its media type, and none that must be there is missing.

    ``names`` are the headers of the answer, ``media_type`` is that of its body without parameters, empty without one.
    """
    found = {name.lower() for name in names} - PLAIN
    where = f"{operation.id} {status} {media_type}"
    response = documented(document, operation)["responses"][str(status)]
    assert media_type in (response.get("content") or {"": None}), where
    said = {name.lower(): header for name, header in response["headers"].items()}
    assert found <= said.keys(), f"{where}: not in the document: {found - said.keys()}"
    assert {name for name, header in said.items() if header.get("required")} <= found, where
    answer = all_answers(operation)[status]
    of_type = answer.content[media_type].headers if media_type else ()
    assert found <= _lower((*answer.headers, *of_type)), f"{where}: of another media type"
    assert _lower(header for header in (*answer.headers, *of_type) if header.required) <= found, where


def _lower(headers: Iterable[Header]) -> set[str]:
    return {header.name.lower() for header in headers}
