"""Every error becomes one kind of answer: RFC 9457."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import FastAPI, Header, Query
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from core import errors
from core.contracts.problem import PROBLEM_MEDIA_TYPE, Problem
from core.contracts.service import Readiness
from core.errors import FalxError, FieldError, InvalidRequest, QueueFull, StartupError, UnsupportedMediaType
from core.http.problems import ACCEPT_POST, problem_response
from core.http.shell import create_shell, metrics_of
from tests.fixtures.servers import ROOT, Reply, request, serving

ALL_ERRORS = sorted(
    (
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, FalxError) and kind.code != "internal-error"
    ),
    key=lambda kind: kind.__name__,
)
CALLER_ERRORS = [kind for kind in ALL_ERRORS if not issubclass(kind, StartupError)]


class Thing(BaseModel):
    size: int
    names: list[str] = []


def make_app() -> FastAPI:
    app = create_shell("test", readiness=lambda: Readiness(ready=True))

    @app.get("/raise/{name}")
    async def raise_named(name: str) -> None:
        raise getattr(errors, name)("What to change.")

    @app.get("/retry")
    async def retry() -> None:
        raise QueueFull("Full.", retry_after_s=2.2, errors=[FieldError("part/t1", "late")])

    @app.get("/own-accept-post")
    async def own_accept_post() -> None:
        raise UnsupportedMediaType("No.", headers={"accept-post": "text/plain"})

    @app.get("/http/{status}")
    async def http(status: int) -> None:
        raise HTTPException(status, "said by the framework", headers={"X-Extra": "1"})

    @app.get("/boom")
    async def boom() -> None:
        raise ValueError("DOE^JANE")

    @app.get("/query")
    async def query(threshold: Annotated[float, Query(gt=0, lt=1)], x_level: Annotated[int, Header()] = 1) -> float:
        return threshold * x_level

    @app.post("/thing")
    async def thing(thing: Thing) -> int:
        return thing.size

    @app.put("/thing")
    async def put_thing(thing: Thing) -> int:
        return thing.size

    return app


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return make_app()


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with serving(app) as base_url:
        yield base_url


def problem(reply: Reply) -> Problem:
    """The problem in ``reply``, once all that every problem must have is there."""
    assert reply.headers["content-type"] == PROBLEM_MEDIA_TYPE
    parsed = Problem.model_validate_json(reply.body)
    assert parsed.status == reply.status
    assert parsed.type == f"/docs/problems#{parsed.code}"
    assert parsed.request_id == reply.headers["x-request-id"]
    assert parsed.instance == f"urn:falx:request:{parsed.request_id}"
    return parsed


@pytest.mark.parametrize("kind", CALLER_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_its_own_status_code_and_title(url: str, kind: type[FalxError]) -> None:
    reply = request(url, "GET", f"/raise/{kind.__name__}")
    parsed = problem(reply)
    assert (reply.status, parsed.code, parsed.title) == (kind.status, kind.code, kind.title)
    assert (parsed.detail, parsed.retryable) == ("What to change.", kind.retryable)
    assert ("retry-after" in reply.headers) is (kind.status in (429, 503))
    assert ("accept-post" in reply.headers) is (kind.status == 415)
    assert ("www-authenticate" in reply.headers) is (kind.status == 401)


def test_retry_after_is_rounded_up_and_faults_are_listed(url: str) -> None:
    reply = request(url, "GET", "/retry")
    assert reply.headers["retry-after"] == "3"
    (fault,) = problem(reply).errors
    assert (fault.pointer, fault.detail) == ("part/t1", "late")


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.01, "1"), (1.0, "1"), (1.001, "2"), (90.0, "90")])
def test_retry_after_is_never_below_a_second(seconds: float, header: str) -> None:
    response = problem_response(QueueFull("Full.", retry_after_s=seconds), {"type": "http"})
    assert response.headers["retry-after"] == header


def test_a_415_tells_what_would_do(url: str) -> None:
    assert request(url, "GET", "/raise/UnsupportedMediaType").headers["accept-post"] == ACCEPT_POST
    assert request(url, "GET", "/own-accept-post").headers["accept-post"] == "text/plain"


def test_a_401_asks_for_a_key(url: str) -> None:
    assert request(url, "GET", "/raise/Unauthorized").headers["www-authenticate"] == 'Bearer realm="falx"'


@pytest.mark.parametrize("path", ["/boom", "/raise/BundleCorrupt", "/raise/FalxError", "/http/500", "/http/502"])
def test_the_unexpected_is_a_500_that_tells_nothing(url: str, path: str) -> None:
    reply = request(url, "GET", path)
    parsed = problem(reply)
    assert (reply.status, parsed.code, parsed.retryable) == (500, "internal-error", False)
    assert "DOE" not in reply.body.decode()
    assert "What to change" not in parsed.detail
    assert "framework" not in parsed.detail


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid-request"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not-found"),
        (406, "not-acceptable"),
        (413, "input-too-large"),
        (415, "unsupported-media-type"),
        (418, "invalid-request"),
        (422, "invalid-request"),
        (429, "rate-limited"),
        (503, "not-ready"),
    ],
)
def test_errors_of_the_framework_keep_their_status(url: str, status: int, code: str) -> None:
    reply = request(url, "GET", f"/http/{status}")
    assert reply.status == status
    assert problem(reply).code == code
    assert reply.headers["x-extra"] == "1"


def test_no_such_address(url: str) -> None:
    reply = request(url, "GET", "/patients/jane-doe?name=jane")
    assert (reply.status, problem(reply).code) == (404, "not-found")
    assert "jane" not in reply.body.decode()


def test_a_slash_too_many_is_not_redirected(url: str) -> None:
    assert request(url, "GET", "/query/").status == 404


def test_a_405_lists_every_method_of_the_address(url: str) -> None:
    reply = request(url, "DELETE", "/thing")
    assert (reply.status, problem(reply).code) == (405, "method-not-allowed")
    assert reply.headers["allow"] == "POST, PUT"


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/query", "query/threshold"),
        ("/query?threshold=2", "query/threshold"),
        ("/query?threshold=jane", "query/threshold"),
    ],
)
def test_a_faulty_query_is_400_and_names_the_parameter(url: str, path: str, pointer: str) -> None:
    reply = request(url, "GET", path)
    parsed = problem(reply)
    assert (reply.status, parsed.code) == (400, "invalid-request")
    assert [fault.pointer for fault in parsed.errors] == [pointer]
    assert pointer in parsed.detail
    assert "jane" not in reply.body.decode()


def test_a_faulty_header_is_named(url: str) -> None:
    reply = request(url, "GET", "/query?threshold=0.5", headers={"X-Level": "high"})
    assert [fault.pointer for fault in problem(reply).errors] == ["header/x-level"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", "#/size"),
        (b'{"size": "jane"}', "#/size"),
        (b'{"size": 1, "names": [1]}', "#/names/0"),
        (b'{"size": ', "#"),
        (b"", "#"),
    ],
)
def test_a_faulty_json_body_is_400_with_a_json_pointer(url: str, body: bytes, pointer: str) -> None:
    reply = request(url, "POST", "/thing", body, {"Content-Type": "application/json"})
    assert reply.status == 400
    assert [fault.pointer for fault in problem(reply).errors] == [pointer]
    assert "jane" not in reply.body.decode()


def test_problems_are_counted_by_code(app: FastAPI, url: str) -> None:
    def count() -> float:
        return metrics_of(app).registry.get_sample_value("falx_rejections_total", {"reason": "not-mr"}) or 0.0

    before = count()
    request(url, "GET", "/raise/NotMr")
    assert count() == before + 1


def test_an_error_can_be_answered_outside_of_a_shell(app: FastAPI) -> None:
    scope = {"type": "http", "app": app}
    response = problem_response(InvalidRequest("No."), Request(scope).scope)
    assert response.status_code == 400
    assert Problem.model_validate_json(bytes(response.body)).request_id is None


def documented_codes(page: Path) -> set[str]:
    return set(re.findall(r"^## `?([a-z-]+)`?$", page.read_text(), flags=re.MULTILINE))


def test_every_code_has_its_section_in_the_documentation() -> None:
    codes = {kind.code for kind in CALLER_ERRORS} - {"startup-error"} | {"internal-error"}
    assert documented_codes(ROOT / "docs" / "problems.md") == codes
