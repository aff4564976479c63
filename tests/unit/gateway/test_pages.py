"""What people see: self-contained, strict about where anything may come from, and complete."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import core.errors
from core.errors import FalxError, StartupError
from gateway.app import create_app
from gateway.pages import FOLDER, render_markdown
from gateway.settings import GatewaySettings
from tests.fixtures.servers import Reply, request, serving

VENDOR = FOLDER / "vendor"
PAGES = ("/", "/docs", "/docs/problems")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(create_app(GatewaySettings())) as url:
        yield url


def get(url: str, path: str) -> Reply:
    reply = request(url, "GET", path)
    assert reply.status == 200, path
    return reply


@pytest.mark.parametrize("path", PAGES)
def test_pages_load_from_here_only(url: str, path: str) -> None:
    reply = get(url, path)
    text = reply.body.decode()
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=", text), "nothing inline: the policy would block it"
    assert "Research use only. Not a medical device." in text
    assert '<html lang="en">' in text


@pytest.mark.parametrize("path", PAGES)
def test_everything_a_page_names_is_there(url: str, path: str) -> None:
    text = get(url, path).body.decode()
    named = set(re.findall(r"""(?:src|href)=["'](/[^"'#]*)""", text))
    assert named
    for address in named:
        assert get(url, address).body


def test_scripts_and_styles_name_no_other_server() -> None:
    files = [
        file
        for kind in ("html", "css", "js", "svg")
        for file in FOLDER.rglob(f"*.{kind}")
        if VENDOR not in file.parents
    ]
    assert len(files) > 20
    for file in files:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file.name


def test_every_module_that_is_imported_is_served(url: str) -> None:
    for file in (FOLDER / "js").rglob("*.js"):
        address = f"/page/{file.relative_to(FOLDER)}"
        reply = get(url, address)
        assert reply.headers["content-type"].startswith("text/javascript")
        assert reply.headers["cache-control"] == "no-cache"
        for named in re.findall(r"""from ["'](\.[^"']+)["']""", reply.body.decode()):
            assert (file.parent / named).resolve().is_file(), f"{address} imports {named}"


def test_every_problem_has_advice() -> None:
    advice = (FOLDER / "js" / "advice.js").read_text(encoding="utf-8")
    advised = set(re.findall(r'^  "([a-z-]+)": \[', advice, re.MULTILINE))
    assert advised - {"unreachable", "no-problem"} == public_codes()


def test_the_viewer_of_volumes_is_the_pinned_one() -> None:
    note = (VENDOR / "niivue" / "README.md").read_text(encoding="utf-8")
    (digest,) = re.findall(r"\b[0-9a-f]{64}\b", note)
    viewer = (VENDOR / "niivue" / "niivue.umd.js").read_bytes()
    assert hashlib.sha256(viewer).hexdigest() == digest
    assert len(viewer) < 3_000_000
    assert "BSD 2-Clause" in (VENDOR / "niivue" / "LICENSE").read_text(encoding="utf-8")


def test_page_is_strict_about_styles(url: str) -> None:
    assert "unsafe-inline" not in get(url, "/").headers["content-security-policy"]


def errors(kind: type[FalxError] = FalxError) -> Iterator[type[FalxError]]:
    for child in kind.__subclasses__():
        if child.__module__ == core.errors.__name__:
            yield child
            yield from errors(child)


def public_codes() -> set[str]:
    """Codes that a caller can meet."""
    return {kind.code for kind in errors() if not issubclass(kind, StartupError)} | {FalxError.code}


def test_every_problem_type_leads_to_its_description(url: str) -> None:
    text = get(url, "/docs/problems").body.decode()
    public = public_codes() - {FalxError.code}
    assert len(public) > 20
    anchors = set(re.findall(r'<h2 id="([^"]+)"', text))
    assert public <= anchors


def test_markdown_is_escaped_and_anchored() -> None:
    html = render_markdown("## `not-mr` or so\n\n<script>x</script>\n\n# Plain Words\n")
    assert '<h2 id="not-mr">' in html
    assert '<h1 id="plain-words">' in html
    assert "<script>" not in html


def test_without_the_reference() -> None:
    with serving(create_app(GatewaySettings(openapi=False))) as url:
        assert request(url, "GET", "/docs").status == 404
        assert request(url, "GET", "/openapi.json").status == 404
        assert request(url, "GET", "/").status == 200


def test_without_the_descriptions(tmp_path: Path) -> None:
    with serving(create_app(GatewaySettings(problems_file=tmp_path / "none.md"))) as url:
        reply = request(url, "GET", "/docs/problems")
        assert (reply.status, reply.json()["code"]) == (404, "not-found")
