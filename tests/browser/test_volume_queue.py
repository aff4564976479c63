"""The volume view while nobody works: jobs that wait, a queue that is full, a gateway that goes away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fixtures.servers import free_port, running
from tests.support.browser import OpenTab, Picture, violations, wait_for_port
from tests.support.volume_site import Site, choose, nifti, phantom


@pytest.fixture
def idle_site(tmp_path: Path) -> Iterator[Site]:
    """Nobody works here, and two jobs may wait."""
    with ExitStack() as stack:
        yield Site(stack, tmp_path, FALX_MAX_QUEUED_JOBS="2")


def test_waiting_cancelling_and_a_full_queue(idle_site: Site, open_tab: OpenTab, picture: Picture) -> None:
    data = phantom()[0]
    first, second, third = (open_tab(idle_site.gateway, "/#volumes") for _ in range(3))
    for page in (first, second):
        choose(page, nifti("flair.nii.gz", data))
        page.get_by_role("button", name="Start").click()
        expect(page.locator(".job h3")).to_have_text("In the queue")
    expect(second.get_by_text("Number 2 in the queue.")).to_be_visible()
    assert violations(second) == []
    picture(second, "volumes-queued")
    choose(third, nifti("flair.nii.gz", data))
    third.get_by_role("button", name="Start").click()
    expect(third.locator(".problem[data-code=queue-full]")).to_contain_text("try again when the time is up")
    assert violations(third) == []
    picture(third, "volumes-queue-full")
    first.get_by_role("button", name="Cancel").click()
    expect(first.locator(".job h3")).to_have_text("Cancelled")
    third.get_by_role("button", name="Try again").click()
    expect(third.locator(".job h3")).to_have_text("In the queue")
    third.get_by_role("link", name="Service").click()
    expect(third.locator(".jobs tbody tr")).to_have_count(3)
    expect(third.locator(".jobs .state[data-status=cancelled]")).to_have_count(1)
    picture(third, "service-jobs")
    third.locator(".jobs").get_by_role("button", name="Erase").press("Enter")
    expect(third.get_by_role("heading", name="Your jobs")).to_be_focused()
    expect(third.locator(".jobs tbody tr")).to_have_count(2)
    third.locator(".jobs tbody a").nth(1).click()
    expect(third.locator(".job h3")).to_have_text("In the queue")


def test_a_gateway_that_goes_away_is_waited_for(tmp_path: Path, open_tab: OpenTab) -> None:
    with ExitStack() as stack:
        site = Site(stack, tmp_path)
        page = open_tab(site.gateway, "/#volumes")
        choose(page, nifti("flair.nii.gz", phantom()[0]))
        page.get_by_role("button", name="Start").click()
        expect(page.locator(".job h3")).to_have_text("In the queue")
        site.gateway.kill()
        expect(page.get_by_text("this page keeps asking")).to_be_visible()
        nobody = f"http://127.0.0.1:{free_port()}"
        env = {**site.env, "FALX_CLASSIFIER_URL": nobody, "FALX_SEGMENTER_URL": nobody}
        wait_for_port(stack.enter_context(running("gateway", env, port=site.gateway.port, wait_ready=False)))
        site.start_worker()
        expect(page.locator(".job h3")).to_have_text("Done")
