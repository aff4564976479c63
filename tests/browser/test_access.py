"""Everybody can use it: WCAG 2.2 AA as far as axe can tell, the keyboard, two themes, a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.fixtures.servers import Server
from tests.support.browser import CLASS, OUTLINE, PHONE, OpenTab, Picture, file, upload, violations


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(slices: Server, open_tab: OpenTab, picture: Picture, theme: str) -> None:
    page = open_tab(slices, color_scheme=theme)
    assert violations(page) == []
    page.get_by_role("button", name="Glioma-like").click()
    expect(page.locator(CLASS)).to_be_visible()
    expect(page.locator(OUTLINE)).to_be_visible()
    upload(page, file("text.png", b"no image"))
    expect(page.locator(".strip li[data-state=failed]")).to_be_visible()
    assert violations(page) == []
    page.locator(".strip button", has_text="Glioma-like").click()
    page.wait_for_timeout(400)
    assert violations(page) == []
    picture(page, f"slices-{theme}")
    page.get_by_role("link", name="Volumes").click()
    assert violations(page) == []
    page.get_by_role("link", name="Service").click()
    expect(page.locator(".model")).to_have_count(3)
    expect(page.locator("#view-service .jobs")).to_have_text("This server takes no volumes, so there are no jobs.")
    page.locator("#view-service summary").first.click()
    assert violations(page) == []
    picture(page, f"service-{theme}")
    page.get_by_role("button", name=re.compile("Model card of")).first.click()
    expect(page.locator("dialog h3").first).to_be_visible()
    assert violations(page) == []
    page.get_by_role("heading", name="Figures").evaluate("(heading) => heading.scrollIntoView()")
    picture(page, f"service-card-{theme}")


def test_a_phone_shows_it_without_scrolling_sideways(slices: Server, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(slices, viewport=PHONE)
    page.get_by_role("button", name="Glioma-like").click()
    expect(page.locator(CLASS)).to_be_visible()
    expect(page.locator(OUTLINE)).to_be_visible()
    picture(page, "slices-phone")
    for view in ("Slices", "Volumes", "Service"):
        page.get_by_role("link", name=view).click()
        expect(page.get_by_text("Research use only. Not a medical device.").first).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], view
    assert violations(page) == []
    page.get_by_role("button", name=re.compile("Model card of")).first.click()
    expect(page.locator("dialog table")).to_have_count(4)
    assert page.locator(".card-text").evaluate("(text) => text.scrollWidth <= text.clientWidth")
    assert violations(page) == []
    picture(page, "service-card-phone")


def test_the_keyboard_alone_is_enough(slices: Server, open_tab: OpenTab) -> None:
    page = open_tab(slices)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText || document.activeElement.type"))
    assert reached == ["file", "MNI152, McGill University", "Glioma-like", "Meningioma-like"]
    page.keyboard.press("Enter")
    expect(page.locator(CLASS)).to_be_visible()
    page.locator(".stage canvas").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("slider", name="Heat map")).to_be_focused()
    before = page.get_by_role("slider", name="Heat map").input_value()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("slider", name="Heat map").input_value() != before
