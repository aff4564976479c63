"""Everything for people's eyes: the page, the API reference and the list of problems. No request leaves the server."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from markdown_it import MarkdownIt
from markdown_it.token import Token
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from core.errors import NotFound

FOLDER = Path(__file__).parent / "page"
PROBLEMS = Path(__file__).resolve().parents[1] / "docs" / "problems.md"

_COMMON = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# blob: and data: are the answers of this server that the page shows as pictures.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; " + _COMMON
)
# Swagger UI sets style attributes and shows its icons as data: pictures.
REFERENCE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; " + _COMMON
)


def add_pages(app: FastAPI, problems_file: Path | None, *, reference: bool) -> None:
    """Add ``/``, ``/docs/problems`` and, with ``reference``, ``/docs``."""
    page = _read("index.html")
    problems = _problems_page(problems_file or PROBLEMS)

    @app.get("/", include_in_schema=False)
    async def page_for_people() -> Response:
        return _html(page, PAGE_POLICY)

    @app.get("/docs/problems", include_in_schema=False)
    async def problem_types() -> Response:
        if problems is None:
            raise NotFound("The description of the problems is not installed here.")
        return _html(problems, PAGE_POLICY)

    app.mount("/page", Assets("/page", directory=FOLDER))
    if reference:
        _add_reference(app)


def _add_reference(app: FastAPI) -> None:
    html = _read("reference.html")

    @app.get("/docs", include_in_schema=False)
    async def api_reference() -> Response:
        return _html(html, REFERENCE_POLICY)

    # Swagger UI itself, as a package of the Python index ships it.
    app.mount("/docs/assets", Assets("/docs/assets", packages=[("fastapi_swagger", "resources")]))


class Assets(StaticFiles):
    """Files that never change while the server runs; ``path`` is their name in logs and metrics."""

    def __init__(self, path: str, **source: Any) -> None:
        super().__init__(**source)
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        await super().__call__(scope, receive, send)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, to be asked after each time: modules of two releases do not go together."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _html(text: str, policy: str) -> HTMLResponse:
    return HTMLResponse(
        text,
        headers={
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        },
    )


def _problems_page(source: Path) -> str | None:
    if not source.is_file():
        return None
    return _read("problems.html").replace("<!-- problems -->", render_markdown(source.read_text(encoding="utf-8")))


def render_markdown(text: str) -> str:
    """HTML of a Markdown text; a heading's own text is its anchor, so that ``#invalid-image`` leads there."""
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = renderer.parse(text)
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", _anchor(inline))
    return str(renderer.renderer.render(tokens, renderer.options, {}))


def _anchor(inline: Token) -> str:
    """A heading may say more than the code; then the code stands in a code span and names the anchor."""
    code = next((child.content for child in inline.children or () if child.type == "code_inline"), inline.content)
    return re.sub(r"[^a-z0-9]+", "-", code.lower()).strip("-")
