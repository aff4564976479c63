"""The words in which an operation is described: plain data, no framework, nothing that is rendered yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from pydantic import BaseModel

from core.contracts.base import Contract
from core.errors import FalxError, MethodNotAllowed

Json = dict[str, Any]

JSON: Final = "application/json"
TEXT: Final[Json] = {"type": "string"}
BINARY: Final[Json] = {"type": "string", "format": "binary"}
EXAMPLE_REQUEST_ID: Final = "4b2f7c1d9e5a4f0c8d3b6a1e2f7c9d05"
EXAMPLE_SHA256: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@dataclass(frozen=True, slots=True)
class Header:
    """A header of an answer. ``shared_as`` names it among the components of a document, for those of many answers."""

    name: str
    description: str
    schema: Json = field(default_factory=TEXT.copy)
    required: bool = True
    shared_as: str | None = None


REQUEST_ID: Final = Header(
    "X-Request-ID",
    "The request's id: the caller's own X-Request-ID where it was sound, else a new one.",
    {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    shared_as="RequestId",
)
NO_STORE: Final = Header(
    "Cache-Control",
    "Answers may hold patient data and must not be cached.",
    {"type": "string", "const": "no-store"},
    shared_as="NoStore",
)
RETRY_AFTER: Final = Header(
    "Retry-After",
    "Seconds after which the same request has a good chance.",
    {"type": "integer", "minimum": 1},
    shared_as="RetryAfter",
)
OF_REFUSALS: Final = (
    RETRY_AFTER,
    Header("WWW-Authenticate", "How to authenticate.", shared_as="WwwAuthenticate"),
    Header("Accept-Post", "The media types that are read.", shared_as="AcceptPost"),
    Header("Accept-Encoding", "The content codings that are read."),
    Header("Allow", "The methods that are answered.", shared_as="Allow"),
    Header("Content-Range", "How many bytes there are."),
)
"""What the headers of refusals mean; ``core.http.problems`` says which refusal carries which."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a request; those of the path are required, no others."""

    name: str
    place: Literal["query", "path", "header"]
    description: str
    schema: Json = field(default_factory=TEXT.copy)
    examples: Sequence[object] = ()
    shared_as: str | None = None


OWN_REQUEST_ID: Final = Parameter(
    "X-Request-ID",
    "header",
    "An id of the caller's own, 1 to 128 of A-Z a-z 0-9 . _ -, found again in the answer "
    "and the logs; anything else is replaced by a new one. No patient data here.",
    examples=(EXAMPLE_REQUEST_ID,),
    shared_as="RequestId",
)
REQUEST_TIMEOUT: Final = Parameter(
    "X-Request-Timeout-Ms",
    "header",
    "Milliseconds that the caller waits at most, counted from the arrival of the request. Work that "
    "has not begun by then is never begun; the answer is 504.",
    {"type": "integer", "minimum": 1, "maximum": 600_000},
    (10_000,),
    shared_as="RequestTimeout",
)


@dataclass(frozen=True, slots=True)
class Content:
    """A body of one media type; in a ``schema`` written by hand contracts may stand where schemas do.

    ``examples`` are several by name; ``headers`` those of an answer of this type alone; ``encoding`` is of parts.
    """

    schema: type[Contract] | Json
    example: object = None
    examples: Json | None = None
    headers: tuple[Header, ...] = ()
    encoding: Json | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one status means: bodies by media type, none for an empty one, and headers whatever the type."""

    description: str
    content: Mapping[str, Content] = field(default_factory=dict)
    headers: tuple[Header, ...] = ()

    @property
    def all_headers(self) -> tuple[Header, ...]:
        """The headers whatever the type, and as optional ones those of one type alone."""
        of_types = (header for content in self.content.values() for header in content.headers)
        return (*self.headers, *(replace(header, required=False) for header in of_types))


@dataclass(frozen=True, slots=True)
class Operation:
    """What is answered on one ``route``: a method and a path.

    ``refusals`` are examples of all errors that it answers with, one or more a code, but for that of other methods;
    ``also`` names what further methods the path answers. ``headers`` are those of every answer, refusals included.
    """

    id: str
    route: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Content] | None = None
    refusals: tuple[FalxError, ...] = ()
    also: tuple[str, ...] = ()
    headers: tuple[Header, ...] = (REQUEST_ID, NO_STORE)

    @property
    def method(self) -> str:
        """The method, in capitals."""
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        """The path, with names in braces."""
        return self.route.partition(" ")[2]

    @property
    def query(self) -> frozenset[str]:
        """Names of the parameters that may stand in the query."""
        return frozenset(parameter.name for parameter in self.parameters if parameter.place == "query")

    @property
    def all_refusals(self) -> tuple[FalxError, ...]:
        """The refusals, that of other methods included."""
        allowed = ", ".join(sorted((self.method, *self.also)))
        return (*self.refusals, MethodNotAllowed(f"This address answers {allowed}.", headers={"Allow": allowed}))


def json_answer(description: str, example: Contract, *headers: Header, without: Sequence[str] = ()) -> Answer:
    """An answer in JSON of the kind of ``example``, which is shown without the fields ``without``."""
    return Answer(
        description, {JSON: Content(type(example), example.model_dump(mode="json", exclude=set(without)))}, headers
    )


def query_parameters(query: type[BaseModel]) -> tuple[Parameter, ...]:
    """The fields of the model that reads the query, each with the description and the examples that it has there."""
    return tuple(_query_parameter(name, schema) for name, schema in query.model_json_schema()["properties"].items())


def _query_parameter(name: str, schema: Json) -> Parameter:
    # None stands for the absence of the parameter: a query holds no null.
    schema |= next((kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}), {})
    if schema.get("default", ...) is None:
        del schema["default"]
    del schema["title"]
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    return Parameter(name, "query", schema.pop("description"), schema, schema.pop("examples", ()))
