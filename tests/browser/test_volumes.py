"""The volume view in a real browser: gateway, queue, store, worker and a tiny network, all real."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.fixtures.answers import in_multipart
from tests.fixtures.volumes import make_affine, nibabel, to_nifti
from tests.support.browser import PHONE, OpenTab, Picture, violations
from tests.support.volume_site import (
    SHAPE,
    SLOW_LAYERS,
    Site,
    at_work,
    check_image_and_labels,
    choose,
    nifti,
    phantom,
    viewer_pixels,
)


@pytest.fixture(scope="module")
def slow_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One whose jobs can be seen at work."""
    with at_work(tmp_path_factory.mktemp("slow"), SLOW_LAYERS) as site:
        yield site


def test_the_whole_story_with_a_reload_in_the_middle(slow_site: Site, open_tab: OpenTab, picture: Picture) -> None:
    data, tumour_ml = phantom()
    page = open_tab(slow_site.gateway, "/#volumes")
    picture(page, "volumes-empty")
    choose(page, nifti("patient-4711_T1gd.nii.gz", data), nifti("patient-4711_t2_flair.nii.gz", data))
    expect(page.get_by_label("Sequence of patient-4711_T1gd.nii.gz")).to_have_value("t1ce")
    expect(page.get_by_label("Sequence of patient-4711_t2_flair.nii.gz")).to_have_value("flair")
    picture(page, "volumes-chosen")
    page.get_by_label("Sequence of patient-4711_T1gd.nii.gz").select_option("flair")
    expect(page.get_by_text("Two files are marked as FLAIR")).to_be_visible()
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.get_by_label("Sequence of patient-4711_T1gd.nii.gz").select_option("t1")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile(r"#volumes/[0-9a-f]{32}$"))
    expect(page.locator(".job")).to_have_attribute("data-status", "running")
    expect(page.locator(".job p").first).to_have_text(re.compile(r"Outlining the tumour \((1|[2-9])\d %\)"))
    assert violations(page) == []
    picture(page, "volumes-running")
    page.reload()
    expect(page.locator(".job h3")).to_have_text(re.compile("In the queue|At work|Done"))
    expect(page.locator(".job h3")).to_have_text("Done")
    whole = page.get_by_role("row", name=re.compile("Whole tumour"))
    shown = float(re.search(r"([\d.]+) ml", whole.inner_text())[1])  # type: ignore[index]
    assert shown == pytest.approx(tumour_ml, rel=0.02)
    expect(page.locator(".planes img")).to_have_count(3)
    for plane in page.locator(".planes img").all():
        assert plane.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 640
    check_image_and_labels(page)
    page.reload()
    check_image_and_labels(page)
    assert violations(page) == []
    picture(page, "volumes-results")
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(r"segmentation\.nii\.gz")).click()
    labels = nibabel.Nifti1Image.from_bytes(gzip.decompress(Path(download.value.path()).read_bytes()))
    assert labels.shape == SHAPE
    for kept in (
        page.url,
        page.title(),
        page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"),
    ):
        assert "4711" not in kept


def test_a_first_visit_needs_no_volume(site: Site, open_tab: OpenTab) -> None:
    page = open_tab(site.gateway, "/#volumes")
    page.get_by_role("button", name="Take the sample volume").click()
    for sequence in ("t1", "t1ce", "t2", "flair"):
        expect(page.get_by_label(f"Sequence of sample_{sequence}.nii.gz")).to_have_value(sequence)
    expect(page.get_by_role("button", name="Start")).to_be_focused()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".job h3")).to_have_text("Done")
    job = site.gateway.request("GET", f"/v1/jobs/{page.url[-32:]}").json()
    assert [sent["name"] for sent in job["inputs"]] == ["t1", "t1ce", "t2", "flair"]


def test_the_viewer_can_be_moved_and_what_it_shows_erased(site: Site, open_tab: OpenTab) -> None:
    page = open_tab(site.gateway, "/#volumes")
    choose(page, nifti("flair.nii.gz", phantom()[0]))
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".job h3")).to_have_text("Done")
    check_image_and_labels(page)
    before = viewer_pixels(page)
    page.get_by_role("slider", name="Axial").fill("20")
    assert not np.array_equal(viewer_pixels(page), before)
    job = f"/v1/jobs/{page.url[-32:]}"
    assert [sent["name"] for sent in site.gateway.request("GET", job).json()["inputs"]] == ["flair"]
    backdrop = f"{job}/results/backdrop.nii.gz"
    assert site.gateway.request("GET", backdrop).status == 200
    page.get_by_role("button", name="Another volume").press("Enter")
    expect(page.get_by_role("heading", name="How large is the tumour?")).to_be_focused()
    page.go_back()
    page.get_by_role("button", name="Erase from the server").press("Enter")
    expect(page.get_by_text("Drop NIfTI files")).to_be_visible()
    expect(page.get_by_role("heading", name="How large is the tumour?")).to_be_focused()
    assert site.gateway.request("GET", backdrop).status == 410


def test_a_job_without_a_backdrop_shows_its_labels_until_somebody_chooses_the_image(
    site: Site, open_tab: OpenTab, picture: Picture
) -> None:
    data = phantom()[0]
    body, headers = in_multipart({"flair": gzip.compress(data, 1)})
    job = site.gateway.request("POST", "/v1/jobs", body, {**headers, "Prefer": "wait=60"}, timeout_s=90).json()
    assert "backdrop.nii.gz" not in {result["name"] for result in job["results"]}
    page = open_tab(site.gateway, f"/#volumes/{job['id']}")
    expect(page.get_by_text("Only the label map is shown")).to_be_visible()
    expect(page.get_by_role("slider", name="White from")).to_be_disabled()
    assert violations(page) == []
    picture(page, "volumes-without-backdrop")
    page.get_by_label("Choose the image").set_input_files(nifti("image.nii.gz", data))
    expect(page.get_by_text("Only the label map is shown")).to_have_count(0)
    check_image_and_labels(page)


def test_results_fit_a_phone_in_the_dark(site: Site, open_tab: OpenTab, picture: Picture) -> None:
    body, headers = in_multipart({"job": b'{"outputs": ["backdrop"]}', "flair": gzip.compress(phantom()[0], 1)})
    job = site.gateway.request("POST", "/v1/jobs", body, {**headers, "Prefer": "wait=60"}, timeout_s=90).json()
    page = open_tab(site.gateway, f"/#volumes/{job['id']}", viewport=PHONE, color_scheme="dark")
    expect(page.get_by_text("Click or scroll to move")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect(page.get_by_text("Research use only. Not a medical device.").first).to_be_in_viewport()
    assert violations(page) == []
    picture(page, "volumes-phone-dark")


def test_a_job_at_work_can_be_cancelled(slow_site: Site, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(slow_site.gateway, "/#volumes")
    choose(page, nifti("flair.nii.gz", phantom()[0]))
    page.get_by_role("button", name="Start").press("Enter")
    expect(page.locator(".job")).to_have_attribute("data-status", "running")
    expect(page.locator(".job h3")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".job h3")).to_have_text("Cancelled")
    expect(page.locator(".job h3")).to_be_focused()
    expect(page.get_by_role("button", name="Erase from the server")).to_be_visible()
    assert violations(page) == []
    picture(page, "volumes-cancelled")


def test_a_refused_volume_says_what_to_do(site: Site, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(site.gateway, "/#volumes")
    choose(page, nifti("flair.nii.gz", b"no volume" * 100))
    page.get_by_role("button", name="Start").click()
    problem = page.locator(".problem[data-code=invalid-nifti]")
    expect(problem).to_contain_text("Write it again with a current tool.")
    expect(page.get_by_role("button", name="Start")).to_be_focused()
    assert violations(page) == []
    picture(page, "volumes-refused")


def test_a_job_that_fails_at_work_says_why(site: Site, open_tab: OpenTab, picture: Picture) -> None:
    """Only a look at every voxel shows that there is nothing to see."""
    page = open_tab(site.gateway, "/#volumes")
    choose(page, nifti("flair.nii.gz", to_nifti(np.full(SHAPE, 7, np.float32), make_affine(shape=SHAPE))))
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".job h3")).to_have_text("Failed")
    problem = page.locator(".problem[data-code=invalid-nifti]")
    expect(problem).to_contain_text("All voxels have the same value.")
    expect(page.locator("#view-volumes .results")).to_be_hidden()
    assert violations(page) == []
    picture(page, "volumes-failed")


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("BraTS2021_00495_t1ce.nii.gz", "t1ce"),
        ("BraTS-GLI-00495-000-t1c.nii.gz", "t1ce"),
        ("BraTS-GLI-00495-000-t1n.nii.gz", "t1"),
        ("BraTS-GLI-00495-000-t2w.nii", "t2"),
        ("BraTS-GLI-00495-000-t2f.nii.gz", "flair"),
        ("sub-01_ses-1_FLAIR.nii.gz", "flair"),
        ("ax_t2_tirm_dark-fluid.nii.gz", "flair"),
        ("T1_post.nii.gz", "t1ce"),
        ("t1_mprage_sag.nii.gz", "t1"),
        ("T2_TSE.nii.gz", "t2"),
        ("scan.nii.gz", ""),
    ],
)
def test_sequences_are_guessed_from_names(site: Site, open_tab: OpenTab, name: str, sequence: str) -> None:
    page = open_tab(site.gateway, "/#volumes")
    guess = page.evaluate("(name) => import('/page/js/volume/sequences.js').then((m) => m.guessSequence(name))", name)
    assert guess == sequence
