"""What the page may say of a slice's answers, before tiny models whose answers follow from the picture.

The class is the quadrant of the head that is brightest, and surer the brighter it is; a bright spot is outlined.
"""

from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.fixtures.images import ByteArray, to_png
from tests.fixtures.servers import Server, running
from tests.support.browser import CLASS, OUTLINE, OpenTab, Picture, file, upload, violations
from tests.support.make_samples import no_head
from tests.support.quadrants import GLIOMA, HEALTHY, SIDE, head, write_sure_models

CONTRADICTION = "[data-part=contradiction]"
CANDIDATE_RGB = (255, 214, 79)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway before model servers with the tiny models."""
    models = write_sure_models(tmp_path_factory.mktemp("models"))
    with ExitStack() as stack:
        folder = {"FALX_MODELS_DIR": str(models)}
        classifier = stack.enter_context(running("classifier_service", folder, wait_ready=False))
        segmenter = stack.enter_context(running("segmenter_service", folder, wait_ready=False))
        urls = {"FALX_CLASSIFIER_URL": classifier.base_url, "FALX_SEGMENTER_URL": segmenter.base_url}
        yield stack.enter_context(running("gateway", urls, start_limit_s=240))


def shown(server: Server, open_tab: OpenTab, image: bytes) -> Page:
    """A page with both answers about an image."""
    page = open_tab(server)
    upload(page, file("slice.png", image))
    expect(page.locator(".strip li[data-state=done]")).to_have_count(1)
    return page


def canvas(page: Page) -> ByteArray:
    """What the light box shows without the heat map, (h, w, 3)."""
    page.get_by_role("slider", name="Heat map").fill("0")
    page.wait_for_timeout(300)
    url: str = page.evaluate("document.querySelector('.stage canvas').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(b64decode(url.partition(",")[2]))).convert("RGB"))


def painted(page: Page, colour: tuple[int, int, int]) -> int:
    """Pixels of the light box in this colour."""
    return int((np.abs(canvas(page).astype(int) - colour).max(axis=2) < 12).sum())


def test_answers_that_agree_are_told_plainly(tiny: Server, open_tab: OpenTab) -> None:
    image = head(GLIOMA, 0.3, spot=True)
    probability = tiny.request("POST", "/v1/classifications", image, {"Content-Type": "image/png"}).json()[
        "probability"
    ]
    page = shown(tiny, open_tab, image)
    expect(page.locator(CLASS)).to_have_text(f"Glioma{100 * probability:.1f} %")
    expect(page.locator(OUTLINE)).to_contain_text("Tumour outlined")
    expect(page.locator(CONTRADICTION)).to_have_count(0)
    expect(page.locator(".strip .fine").first).to_have_text("Glioma")
    text = page.locator("[data-part=class]").inner_text()
    assert "The set of classes that fit holds one: glioma." in text
    assert "about 5 in 100 lack the true class; whether this one does, nobody can tell." in text
    # Beside the name of a class 95 % would be read as the probability of this answer.
    assert "95 %" not in text
    assert "settle" not in text
    assert painted(page, CANDIDATE_RGB) == 0


def test_a_slice_is_one_call(tiny: Server, open_tab: OpenTab) -> None:
    page, asked = open_tab(tiny), list[str]()
    page.on("request", lambda request: asked.append(request.url.removeprefix(tiny.base_url)))
    upload(page, file("slice.png", head(GLIOMA, 0.3)))
    expect(page.locator(".strip li[data-state=done]")).to_have_count(1)
    assert [path for path in asked if path.startswith("/v1/")] == ["/v1/analyses?explain=cam"]


def test_a_tumour_that_is_not_outlined_is_a_contradiction_with_a_candidate(
    tiny: Server, open_tab: OpenTab, picture: Picture
) -> None:
    image = head(GLIOMA, 0.3)
    answer = tiny.request("POST", "/v1/segmentations", image, {"Content-Type": "image/png"}).json()
    assert answer["tumor_pixels"] == 0
    left, top, width, height = answer["candidate"]["bounding_box"]
    # The bright quadrant: upper left.
    assert left + width <= SIDE / 2 + 4
    assert top + height <= SIDE / 2 + 4
    page = shown(tiny, open_tab, image)
    expect(page.locator(CLASS)).to_contain_text("Glioma")
    said = page.locator(CONTRADICTION)
    expect(said).to_contain_text("The class says glioma, but no tumour is outlined.")
    expect(said).to_contain_text("The dashed line is a candidate, not an outline")
    expect(said).to_contain_text(f"at most {100 * answer['candidate']['max_probability']:.1f} % where 50 % are needed")
    expect(page.locator(OUTLINE)).to_have_text("No tumour outlined")
    expect(page.locator(".strip .fine").first).to_have_text("Glioma, outline disagrees")
    label = "Slice slice.png. Glioma, outline disagrees. A dashed line marks a candidate, which is no outline."
    expect(page.locator(".stage canvas")).to_have_attribute("aria-label", label)
    dashed = painted(page, CANDIDATE_RGB)
    assert dashed > 100
    # Dashed and hollow: far less than the whole of its outline, and nothing within.
    density = page.evaluate("document.querySelector('.stage canvas').width") / SIDE
    assert dashed < 2 * (width + height) * density * 2
    assert violations(page) == []
    picture(page, "slices-contradiction")
    page.get_by_role("slider", name="Outline").fill("0")
    assert painted(page, CANDIDATE_RGB) == 0


def test_an_outline_without_a_tumour_is_a_contradiction(tiny: Server, open_tab: OpenTab) -> None:
    page = shown(tiny, open_tab, head(HEALTHY, 0.3, spot=True))
    expect(page.locator(CLASS)).to_contain_text("No tumour")
    expect(page.locator(OUTLINE)).to_contain_text("Tumour outlined")
    expect(page.locator(CONTRADICTION)).to_contain_text("The class says no tumour, but a tumour is outlined.")
    assert painted(page, CANDIDATE_RGB) == 0


def test_no_tumour_and_no_outline_agree(tiny: Server, open_tab: OpenTab) -> None:
    """Where a tumour is likeliest is not shown while nothing speaks for one."""
    image = head(HEALTHY, 0.3)
    assert tiny.request("POST", "/v1/segmentations", image, {"Content-Type": "image/png"}).json()["candidate"]
    page = shown(tiny, open_tab, image)
    expect(page.locator(CLASS)).to_contain_text("No tumour")
    expect(page.locator(OUTLINE)).to_have_text("No tumour outlined")
    expect(page.locator(CONTRADICTION)).to_have_count(0)
    assert painted(page, CANDIDATE_RGB) == 0


def test_an_unsure_prediction_never_sounds_settled(tiny: Server, open_tab: OpenTab, picture: Picture) -> None:
    image = head(GLIOMA, 0.05)
    answer = tiny.request("POST", "/v1/classifications", image, {"Content-Type": "image/png"}).json()
    assert answer["prediction_set"] == ["glioma"]
    assert answer["probability"] < 0.8
    page = shown(tiny, open_tab, image)
    expect(page.locator(CLASS)).to_contain_text("Undecided, perhaps glioma")
    expect(page.locator(f"{CLASS} span")).to_have_text(f"{100 * answer['probability']:.1f} %")
    expect(page.locator("[data-part=class]")).to_contain_text("its own probability is low: take it as undecided")
    expect(page.locator(".strip .fine").first).to_have_text("Undecided, perhaps glioma, outline disagrees")
    said = page.locator(CONTRADICTION)
    expect(said).to_contain_text("The class leans to glioma, but no tumour is outlined.")
    expect(said).to_contain_text("Nowhere is a tumour likely enough to be offered as a candidate.")
    picture(page, "slices-undecided")


def test_an_unfamiliar_picture_has_no_class_as_a_headline(tiny: Server, open_tab: OpenTab) -> None:
    page = shown(tiny, open_tab, to_png(no_head()))
    for part, verdict in (("class", CLASS), ("outline", OUTLINE)):
        expect(page.locator(verdict)).to_have_text("Unfamiliar image")
        expect(page.locator(f"[data-part={part}]")).to_contain_text("Do not rely on this answer.")
    expect(page.locator(".strip .fine").first).to_have_text("Unfamiliar image")
    expect(page.locator(CONTRADICTION)).to_have_count(0)
    bars = page.locator("[data-part=class] .bars li")
    expect(bars).to_have_count(4)
    expect(bars.first).to_be_hidden()
    page.locator("[data-part=class] summary").click()
    expect(bars.first).to_be_visible()
    assert violations(page) == []
