"""A real Chromium before real services. Where no Chromium is installed these tests are skipped."""

from __future__ import annotations

import io
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.fixtures.servers import ROOT, Server, running

CHROMIUM = shutil.which("chromium")
PICTURES = ROOT / "docs" / "images" / "page"
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# WebGL 2 in software, for the viewer of volumes on a machine without a GPU.
WEBGL = "--enable-unsafe-swiftshader"
PATIENCE_MS = 60_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known where pytest is called with this folder: ``pytest tests/browser --screenshots``."""
    parser.addoption("--screenshots", action="store_true", help=f"renew the pictures in {PICTURES.relative_to(ROOT)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs the browser and takes its time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no chromium on the PATH; on Debian: apt-get install chromium"))


@pytest.fixture(scope="module")
def switches() -> list[str]:
    """How Chromium is started; a module may start it in another way."""
    return [*SWITCHES, WEBGL]


@pytest.fixture(scope="module")
def browser(switches: list[str]) -> Iterator[Browser]:
    """Chromium in a fresh profile; a module's own, as Playwright's loop must not outlive it."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=switches, chromium_sandbox=False)
        yield chromium
        chromium.close()


def wait_for_port(server: Server) -> None:
    """Return once it listens: a gateway whose model servers are away on purpose never says that it is ready."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(server.log)


class Tab:
    """A page and what went wrong in it."""

    def __init__(self, page: Page, base_url: str) -> None:
        self.page = page
        self.base_url = base_url
        self.faults: list[str] = []
        self.foreign: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._listen)
        page.on("request", self._watch)

    def _listen(self, message: ConsoleMessage) -> None:
        # A refused request is logged by Chromium itself; a breach of the policy is, too, but must not happen.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _watch(self, request: Request) -> None:
        if not request.url.startswith((self.base_url, "blob:", "data:")):
            self.foreign.append(request.url)


OpenTab = Callable[..., Page]


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[OpenTab]:
    """Open a page at an address of a server, in a profile of its own; afterwards nothing may have gone wrong in it."""
    tabs: list[Tab] = []

    def open_one(server: Server, path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE_MS)
        tab = Tab(context.new_page(), server.base_url)
        tabs.append(tab)
        tab.page.goto(server.base_url + path)
        return tab.page

    yield open_one
    for tab in tabs:
        tab.page.context.close()
    assert [fault for tab in tabs for fault in tab.faults] == []
    assert [url for tab in tabs for url in tab.foreign] == [], "the page asked another server"


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Keep a screenshot under a name, when asked for with ``--screenshots``."""

    def keep(page: Page, name: str) -> None:
        if not request.config.getoption("--screenshots", default=False):
            return
        assert re.fullmatch(r"[a-z0-9-]+", name)
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.mouse.move(0, 0)
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(600)
        # What lies under a dialog is dimmed as far as the window goes.
        whole = not page.locator("dialog[open]").count()
        shot = Image.open(io.BytesIO(page.screenshot(full_page=whole, scale="css"))).convert("RGB")
        shot.thumbnail((900, 4000))
        shot.quantize(256, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)

    return keep


@pytest.fixture(scope="module")
def slices() -> Iterator[Server]:
    """The gateway before both model servers with the models that are shipped."""
    with ExitStack() as stack:
        classifier = stack.enter_context(running("classifier_service", wait_ready=False))
        segmenter = stack.enter_context(running("segmenter_service", wait_ready=False))
        urls = {"FALX_CLASSIFIER_URL": classifier.base_url, "FALX_SEGMENTER_URL": segmenter.base_url}
        yield stack.enter_context(running("gateway", urls, start_limit_s=240))
