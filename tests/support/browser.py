"""What tests in a browser share: how Chromium is started, tabs that note what goes wrong, ways into the page."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, FilePayload, Page, Request

from tests.fixtures.servers import ROOT, Server

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
# Opens a page at an address of a server; keeps a screenshot of a page under a name.
OpenTab = Callable[..., Page]
Picture = Callable[[Page, str], None]
PHONE = {"width": 360, "height": 740}
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}
# Where the answers about a slice stand.
CLASS = "[data-part=class] .verdict"
OUTLINE = "[data-part=outline] .verdict"


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


def violations(page: Page) -> list[str]:
    """What axe finds, one line a place."""
    found = Axe().run(page, options=RULES).response["violations"]
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def upload(page: Page, *files: FilePayload) -> None:
    """Choose files in the slice view."""
    page.locator("#view-slices input[type=file]").set_input_files(list(files))


def file(name: str, data: bytes, media_type: str = "image/png") -> FilePayload:
    """A file as Playwright hands it to a page."""
    return {"name": name, "mimeType": media_type, "buffer": data}
