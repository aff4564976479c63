"""A real Chromium before real services. Where no Chromium is installed these tests are skipped."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.fixtures.servers import ROOT, Server, running
from tests.support.browser import CHROMIUM, PATIENCE_MS, PICTURES, SWITCHES, WEBGL, OpenTab, Tab
from tests.support.volume_site import Site, at_work


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


# Services live as long as the session: nothing here changes them, and each start takes seconds of all cores.
@pytest.fixture(scope="session")
def slices() -> Iterator[Server]:
    """The gateway before both model servers with the models that are shipped."""
    with ExitStack() as stack:
        classifier = stack.enter_context(running("classifier_service", wait_ready=False))
        segmenter = stack.enter_context(running("segmenter_service", wait_ready=False))
        urls = {"FALX_CLASSIFIER_URL": classifier.base_url, "FALX_SEGMENTER_URL": segmenter.base_url}
        yield stack.enter_context(running("gateway", urls, start_limit_s=240))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Volumes with a worker."""
    with at_work(tmp_path_factory.mktemp("site")) as site:
        yield site
