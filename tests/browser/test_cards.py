"""Model cards in a real browser: opened over the service view, and rendered without losing or running anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.servers import ROOT, Server
from tests.support.browser import OpenTab

CARDS = sorted((ROOT / "models").glob("*/*/CARD.md"))
RENDER = """([text, lower]) => import("/page/js/service/markdown.js").then(({ render }) => {
    const place = document.createElement("div");
    place.append(...render(text, lower));
    document.querySelector("main").replaceChildren(place);
    return [place.innerHTML, place.innerText];
})"""
HOSTILE = """# A <b>title</b>

<img src=x onerror="document.title='run'"> and [a link](javascript:alert(1)) and <https://example.org>

- one **strong** item
  that goes on
- `a|b` and *this*, 2 * 3 * 4

1. first
2. second

| head | <i>two</i> |
| --- | ---: |
| a \\| b | <script>document.title='run'</script> |
| | `code` |

| no table |
"""


def rendered(page: Page, text: str, lower: int = 0) -> tuple[str, str]:
    """Markup and visible text of a rendered card."""
    markup, seen = page.evaluate(RENDER, [text, lower])
    return markup, seen


def test_a_card_opens_and_closes_by_the_keyboard(slices: Server, open_tab: OpenTab) -> None:
    page = open_tab(slices, "/#service")
    opener = page.get_by_role("button", name=re.compile(r"^Model card of .*classifier for single MR slices \("))
    opener.press("Enter")
    dialog = page.get_by_role("dialog")
    first = (ROOT / "models" / "tumor-classifier" / "1" / "CARD.md").read_text(encoding="utf-8").splitlines()[0]
    expect(dialog.get_by_role("heading", level=2)).to_have_text(first.removeprefix("# "))
    expect(dialog.get_by_role("table")).to_have_count(4)
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("region").first).to_be_focused()
    page.keyboard.press("End")
    expect(dialog.get_by_role("heading", name="Licence")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    opener.press("Enter")
    page.evaluate("location.hash = '#volumes'")
    expect(page.locator("dialog")).not_to_have_attribute("open", "")
    expect(page.get_by_role("heading", name="How large is the tumour?")).to_be_visible()


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.parts[-3])
def test_no_word_of_a_card_is_lost(slices: Server, open_tab: OpenTab, card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    markup, seen = rendered(open_tab(slices), text, 1)
    assert re.findall(r"\w+", seen) == re.findall(r"\w+", text)
    assert markup.count("<table>") == len(re.findall(r"(?m)^\|[ |:-]*-[ |:-]*\|$", text)) > 0
    assert not re.search(r"[|`*#]", seen)


def test_a_card_is_text_and_never_runs(slices: Server, open_tab: OpenTab) -> None:
    page = open_tab(slices)
    title = page.title()
    markup, seen = rendered(page, HOSTILE)
    tags = set(re.findall(r"<(\w+)", markup))
    assert tags == {
        "h1", "p", "ul", "ol", "li", "strong", "em", "code", "div", "table", "thead", "tbody", "tr", "th", "td"
    }  # fmt: skip
    assert page.title() == title
    for kept in (
        "A <b>title</b>",
        "[a link](javascript:alert(1))",
        "<https://example.org>",
        "one strong item that goes on",
        "a|b and this, 2 * 3 * 4",
        "<i>two</i>",
        "a | b",
        "<script>document.title='run'</script>",
        "| no table |",
    ):
        assert kept in seen
    assert page.locator("main th[scope=row]").all_inner_texts() == ["a | b", ""]
