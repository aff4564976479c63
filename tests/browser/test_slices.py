"""The slice view in a real browser, before the shipped models."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Download, Page, expect

from tests.fixtures.answers import in_multipart
from tests.fixtures.images import ByteArray, make_dicom, make_head_slice, make_png, to_jpeg, to_png, to_tiff
from tests.fixtures.servers import Server
from tests.support.browser import CLASS, OUTLINE, OpenTab, Picture, file, upload
from tests.support.make_samples import SAMPLES, sample


def canvas(page: Page) -> ByteArray:
    """What the light box shows, (h, w, 3)."""
    url: str = page.evaluate("document.querySelector('.stage canvas').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(b64decode(url.partition(",")[2]))).convert("RGB"))


def set_slider(page: Page, name: str, value: int) -> None:
    page.get_by_role("slider", name=name).fill(str(value))
    page.wait_for_timeout(150)  # the next frame


def saved(download: Download) -> bytes:
    return Path(download.path()).read_bytes()


def test_a_first_visit_needs_no_file(slices: Server, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(slices)
    expect(page.get_by_text("Research use only. Not a medical device.")).to_be_visible()
    expect(page.get_by_text("Simulated; no patient.").first).to_be_visible()
    picture(page, "slices-empty")
    page.get_by_role("button", name="Glioma-like").click()
    expect(page.locator(CLASS)).to_be_visible()
    expect(page.locator(OUTLINE)).to_be_visible()
    expect(page.locator(".bars li")).to_have_count(4)
    image = (SAMPLES / "glioma-like.png").read_bytes()
    reply = slices.request("POST", "/v1/classifications", image, {"Content-Type": "image/png"})
    best = max(reply.json()["probabilities"].values())
    expect(page.locator(".bars .top .value")).to_have_text(f"{100 * best:.1f} %")
    expect(page.locator(CLASS)).to_contain_text("Glioma")
    page.mouse.wheel(0, 600)
    expect(page.get_by_text("Research use only. Not a medical device.")).to_be_in_viewport()
    picture(page, "slices-answered")


def test_layers_window_and_zoom_change_what_is_seen(slices: Server, open_tab: OpenTab) -> None:
    page = open_tab(slices)
    upload(page, file("head.png", make_png(320, 320, seed=5)))
    expect(page.locator(CLASS)).to_be_visible()
    expect(page.locator(OUTLINE)).to_be_visible()
    set_slider(page, "Heat map", 0)
    set_slider(page, "Outline", 0)
    plain = canvas(page)
    assert np.ptp(plain.astype(int), axis=2).max() <= 1, "without layers the slice is grey"
    assert plain.max() > 150
    set_slider(page, "Heat map", 100)
    assert np.ptp(canvas(page).astype(int), axis=2).max() > 60
    set_slider(page, "Heat map", 0)
    set_slider(page, "Window", 30)
    narrow = canvas(page)
    assert (narrow > 250).sum() > 2 * (plain > 250).sum()
    page.get_by_role("button", name="Reset window").click()
    page.wait_for_timeout(150)
    assert np.array_equal(canvas(page), plain)
    page.locator(".stage canvas").focus()
    for _ in range(4):
        page.keyboard.press("+")
    page.wait_for_timeout(150)
    assert (canvas(page) > 20).mean() > 1.2 * (plain > 20).mean(), "the black around the head is left outside"
    page.keyboard.press("0")
    page.wait_for_timeout(150)
    assert np.array_equal(canvas(page), plain)


def test_downloads_are_the_servers_own_answers(slices: Server, open_tab: OpenTab) -> None:
    page = open_tab(slices)
    image = make_png(200, 280, seed=3)
    upload(page, file("patient-4711.png", image))
    expect(page.locator(OUTLINE)).to_be_visible()
    expect(page.locator(CLASS)).to_be_visible()
    body, headers = in_multipart({"file": image})
    for button, accept in (("Mask (PNG)", "image/png"), ("Overlay (PNG)", "image/png; profile=overlay")):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        expected = slices.request("POST", "/v1/segmentations", body, {**headers, "Accept": accept}).body
        assert saved(download.value) == expected
        assert "4711" not in download.value.suggested_filename
    with page.expect_download() as download:
        page.get_by_role("button", name="Answers (JSON)").click()
    answers = json.loads(saved(download.value))
    assert answers["segmentation"]["size"] == [200, 280]
    assert {"agreement", "contradiction", "input_check"} <= answers.keys()
    assert set(answers["classification"]["probabilities"]) == {"glioma", "meningioma", "pituitary", "no_tumor"}


def test_several_files_of_several_kinds(slices: Server, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(slices)
    dicom = make_dicom(
        make_head_slice(256, 256, seed=8), elements={"PixelSpacing": [0.9, 0.9], "PatientName": "secret-4711"}
    )
    upload(
        page,
        file("IM0001.dcm", dicom, "application/dicom"),
        file("second.jpg", to_jpeg(make_head_slice(256, 256, seed=1)), "image/jpeg"),
        file("notes.png", b"these are no pixels"),
    )
    strip = page.locator(".strip li")
    expect(strip).to_have_count(3)
    expect(page.locator(".strip li[data-state=done]")).to_have_count(2)
    refused = page.locator(".strip li[data-state=failed]")
    expect(refused).to_contain_text("Refused")
    strip.filter(has_text="IM0001").get_by_role("button").click()
    page.wait_for_timeout(300)
    assert canvas(page).max() > 100, "the server's reading of the DICOM file is shown"
    refused.get_by_role("button").click()
    problem = page.locator(".problem").first
    expect(problem).to_contain_text("cannot be used as an image")
    expect(problem).to_contain_text("save it as PNG")
    picture(page, "slices-refused")
    for kept in (
        page.url,
        page.title(),
        page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"),
    ):
        assert "4711" not in kept
        assert "IM0001" not in kept


def coloured(pixels: ByteArray) -> int:
    """Pixels that are not grey."""
    return int((np.ptp(pixels.astype(int), axis=2) > 40).sum())


def test_a_dicom_slice_has_all_its_layers(slices: Server, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(slices)
    upload(
        page,
        file(
            "IM0001",
            make_dicom(sample("glioma-like.png"), elements={"PixelSpacing": [0.45, 0.45]}),
            "application/dicom",
        ),
    )
    expect(page.locator(".strip li[data-state=done]")).to_have_count(1)
    expect(page.locator("[data-part=outline]")).to_contain_text("Tumour outlined")
    expect(page.get_by_role("slider", name="Outline")).to_be_enabled()
    page.wait_for_timeout(300)
    picture(page, "slices-dicom")
    set_slider(page, "Heat map", 0)
    outlined = canvas(page)
    assert coloured(outlined) > 200
    set_slider(page, "Outline", 30)
    fainter = canvas(page)
    assert not np.array_equal(fainter, outlined)
    set_slider(page, "Outline", 0)
    plain = canvas(page)
    assert np.ptp(plain.astype(int), axis=2).max() == 0, "no outline is in the picture itself"
    assert plain.max() > 150
    set_slider(page, "Heat map", 100)
    assert coloured(canvas(page)) > 200
    set_slider(page, "Heat map", 0)
    set_slider(page, "Window", 30)
    assert (canvas(page) > 250).sum() > 2 * (plain > 250).sum()
    page.get_by_role("button", name="Reset window").click()
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_timeout(150)
    assert (canvas(page) > 20).mean() > 1.2 * (plain > 20).mean()
    page.get_by_role("button", name="Fit").click()
    page.wait_for_timeout(150)
    assert np.array_equal(canvas(page), plain)


def test_the_servers_picture_is_the_file_as_a_browser_shows_it(slices: Server, open_tab: OpenTab) -> None:
    """One slice as PNG, which the browser reads itself, and as TIFF: the same light box, layers included."""
    seen = []
    for kind, encode in (("png", to_png), ("tiff", to_tiff)):
        page = open_tab(slices)
        upload(page, file(f"one.{kind}", encode(sample("glioma-like.png")), f"image/{kind}"))
        expect(page.locator(".strip li[data-state=done]")).to_have_count(1)
        page.wait_for_timeout(300)
        seen.append(canvas(page).astype(int))
    assert np.abs(seen[0] - seen[1]).max() <= 2


def test_what_does_not_look_like_a_slice_is_said_to(slices: Server, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(slices)
    page.get_by_role("button", name="Not a head").click()
    expect(page.locator("[data-part=class]").get_by_text("Do not rely on this answer.")).to_be_visible()
    expect(page.locator("[data-part=outline]").get_by_text("Do not rely on this answer.")).to_be_visible()
    expect(page.locator(CLASS)).to_have_text("Unfamiliar image")
    picture(page, "slices-not-a-head")


def test_pasted_images_are_taken(slices: Server, open_tab: OpenTab) -> None:
    page = open_tab(slices)
    page.evaluate(
        """async (bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
            const options = { clipboardData: transfer, bubbles: true, cancelable: true };
            document.dispatchEvent(new ClipboardEvent("paste", options));
        }""",
        list(make_png(96, 96)),
    )
    expect(page.locator(CLASS)).to_be_visible()


def test_a_file_name_is_text_and_stays_here(slices: Server, open_tab: OpenTab) -> None:
    page = open_tab(slices)
    sent: list[bytes] = []
    page.on("request", lambda request: sent.append(request.post_data_buffer or b"") if "/v1/" in request.url else None)
    name = "<img src=x onerror=alert(1)>4711.png"
    upload(page, file(name, make_png(96, 96)))
    expect(page.locator(CLASS)).to_be_visible()
    expect(page.locator(".strip .tab-name")).to_have_text(name)
    assert page.locator(".strip img").count() == 0
    assert sent
    assert not any(b"4711" in body for body in sent)
