"""The volume view in a browser that has no WebGL 2, as on a machine without a GPU."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.support.browser import SWITCHES, OpenTab, Picture
from tests.support.volume_site import Site, choose, nifti, phantom


@pytest.fixture(scope="module")
def switches() -> list[str]:
    return [*SWITCHES, "--disable-3d-apis"]


def test_the_planes_stand_in_for_the_viewer(site: Site, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(site.gateway, "/#volumes")
    assert page.evaluate("document.createElement('canvas').getContext('webgl2')") is None
    choose(page, nifti("flair.nii.gz", phantom()[0]))
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("This browser has no WebGL 2")).to_be_visible()
    expect(page.locator(".planes img")).to_have_count(3)
    assert page.evaluate("performance.getEntriesByType('resource').filter((e) => /niivue/.test(e.name)).length") == 0
    picture(page, "volumes-without-webgl")
