"""What people see when a server is full, gone or asks for a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from gateway.keys import digest
from tests.fixtures.images import make_png
from tests.fixtures.servers import Server, free_port, running
from tests.fixtures.slow_models import write_slow_classifier
from tests.support.browser import CLASS, OUTLINE, OpenTab, Picture, file, upload, wait_for_port


@pytest.fixture(scope="module")
def segmenter(tiny_models: Path) -> Iterator[Server]:
    with running("segmenter_service", {"FALX_MODELS_DIR": str(tiny_models)}) as server:
        yield server


def upstreams(classifier: str, segmenter: Server) -> dict[str, str]:
    return {"FALX_CLASSIFIER_URL": classifier, "FALX_SEGMENTER_URL": segmenter.base_url, "FALX_CIRCUIT_RESET_S": "1"}


def test_a_model_server_that_goes_away_and_comes_back(
    tiny_models: Path, segmenter: Server, open_tab: OpenTab, picture: Picture
) -> None:
    port = free_port()
    env = {"FALX_MODELS_DIR": str(tiny_models)}
    with running("gateway", upstreams(f"http://127.0.0.1:{port}", segmenter), wait_ready=False) as gateway:
        with running("classifier_service", env, port=port) as classifier:
            wait_for_port(gateway)
            page = open_tab(gateway)
            upload(page, file("one.png", make_png(96, 96)))
            expect(page.locator(CLASS)).to_be_visible()
            classifier.kill()
        upload(page, file("two.png", make_png(96, 96, seed=1)))
        problem = page.locator("[data-part=class] .problem")
        expect(problem).to_contain_text("Wait a moment, then try again.")
        expect(page.locator(OUTLINE)).to_be_visible()  # the other half of the answer stands
        picture(page, "slices-server-away")
        with running("classifier_service", env, port=port):
            page.wait_for_timeout(1500)  # until the gateway asks again
            page.get_by_role("button", name="Try again").click()
            expect(page.locator(CLASS)).to_be_visible()


def test_a_gateway_that_goes_away(tiny_models: Path, segmenter: Server, open_tab: OpenTab) -> None:
    with (
        running("classifier_service", {"FALX_MODELS_DIR": str(tiny_models)}) as classifier,
        running("gateway", upstreams(classifier.base_url, segmenter)) as gateway,
    ):
        page = open_tab(gateway)
        gateway.kill()
        upload(page, file("one.png", make_png(96, 96)))
        expect(page.locator(".problem").first).to_contain_text("The server does not answer")


def test_an_over_full_queue(tmp_path: Path, segmenter: Server, open_tab: OpenTab, picture: Picture) -> None:
    # Its places must still be taken when the last of the tabs sends, on a slow machine too.
    models = write_slow_classifier(tmp_path, 4.0)
    env = {"FALX_MODELS_DIR": str(models), "FALX_MAX_QUEUE": "1", "FALX_MAX_BATCH": "1"}
    with (
        running("classifier_service", env) as classifier,
        running("gateway", upstreams(classifier.base_url, segmenter)) as gateway,
    ):
        page, *others = (open_tab(gateway) for _ in range(4))
        # Each tab sends two at a time: together more than there are places.
        for one in (*others, page):
            upload(one, *(file(f"slice-{index}.png", make_png(96, 96, seed=index)) for index in range(4)))
        refused = page.locator(".strip li[data-state=failed]")
        expect(refused.first).to_be_visible()
        refused.first.get_by_role("button").click()
        problem = page.locator(".problem[data-code=queue-full]").first
        expect(problem).to_contain_text("has all the work it can take")
        expect(problem).to_contain_text("Expected wait")
        picture(page, "slices-queue-full")
        for one in (*others, page):
            expect(one.locator(".strip li:is([data-state=working], [data-state=waiting])")).to_have_count(0)
        page.get_by_role("button", name="Try again").first.click()
        expect(page.locator(CLASS)).to_be_visible()


def test_a_key_is_asked_for_used_and_forgotten(
    tiny_models: Path, segmenter: Server, tmp_path: Path, open_tab: OpenTab, picture: Picture
) -> None:
    key = "falx_reader_" + 43 * "k"
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[keys]]\nid = "reader"\nsha256 = "{digest(key)}"\nscopes = ["infer"]\n')
    with running("classifier_service", {"FALX_MODELS_DIR": str(tiny_models)}) as classifier:
        env = {**upstreams(classifier.base_url, segmenter), "FALX_API_KEYS_FILE": str(keys)}
        with running("gateway", env) as gateway:
            page = open_tab(gateway)
            upload(page, file("one.png", make_png(96, 96)))
            expect(page.locator(".problem").first).to_contain_text("asks for an API key")
            picture(page, "slices-key-needed")
            page.get_by_role("link", name="Enter a key").first.click()
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Use this key").click()
            page.get_by_role("link", name="Slices").click()
            expect(page.locator(CLASS)).to_be_visible()
            page.reload()
            page.get_by_role("link", name="Service").click()
            expect(page.locator(".models .problem")).to_contain_text("asks for an API key")
            assert page.get_by_label("API key").input_value() == ""
