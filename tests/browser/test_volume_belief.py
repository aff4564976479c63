"""Regions that may not be believed, on the page: withheld with a reason, or marked as experimental where asked for."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from core.imaging.volume import Volume
from tests.fixtures.answers import in_multipart
from tests.fixtures.volume_models import make_phantom, validated
from tests.fixtures.volumes import make_affine, make_series, to_zip
from tests.support.browser import OpenTab, Picture, violations
from tests.support.volume_site import SHAPE, SPACING_MM, Site, at_work, choose, nifti, phantom, viewer_pixels

# As the shipped model is: the whole tumour well, what is within it not.
POOR = {"whole_tumor": 0.75, "tumor_core": 0.46, "necrotic_core": 0.01, "oedema": 0.04, "enhancing": 0.36}
INNER = ("Tumour core", "Necrotic core", "Oedema", "Enhancing tumour")
# Of the planes and the viewer: the whole tumour or oedema, the core, what enhances.
YELLOW, ORANGE, BLUE = (240, 228, 66), (213, 94, 0), (86, 180, 233)


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One whose model knows the whole tumour alone."""
    figures = {region: validated(dice) for region, dice in POOR.items()}
    with at_work(tmp_path_factory.mktemp("poor"), manifest={"validated_dice": figures}) as site:
        yield site


def finished(site: Site, query: str = "", **parts: bytes) -> Any:
    """A job that has ended."""
    body, headers = in_multipart({"job": b'{"outputs": ["backdrop"]}', **parts})
    reply = site.gateway.request("POST", f"/v1/jobs{query}", body, {**headers, "Prefer": "wait=60"}, timeout_s=90)
    assert reply.json()["status"] == "succeeded"
    return reply.json()


def row(page: Page, name: str) -> str:
    return page.get_by_role("region", name="Volumes by region").get_by_role("row", name=re.compile(name)).inner_text()


def seen(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of a hue: colours are drawn over grey, at any strength."""
    wanted = np.array(colour) / max(colour)
    strength = pixels.max(axis=2, keepdims=True)
    alike = np.abs(pixels / np.maximum(strength, 1) - wanted).max(axis=2) < 0.12
    return int((alike & (strength[..., 0] > 90)).sum())


def planes(page: Page, site: Site, job: str) -> np.ndarray:
    """The pictures of the planes that the page shows, side by side."""
    expect(page.locator(".planes img")).to_have_count(3)
    files = [f"/v1/jobs/{job}/results/{name}.png" for name in ("axial", "coronal", "sagittal")]
    pictures = [Image.open(io.BytesIO(site.gateway.request("GET", path).body)).convert("RGB") for path in files]
    return np.concatenate([np.asarray(picture).astype(int) for picture in pictures], axis=1)


def test_withheld_regions_stand_in_the_table_with_the_reason_and_in_no_picture(
    poor: Site, open_tab: OpenTab, picture: Picture
) -> None:
    data, tumour_ml = phantom()
    job = finished(poor, flair=gzip.compress(data, 1))
    page = open_tab(poor.gateway, f"/#volumes/{job['id']}")
    expect(page.get_by_text("Click or scroll to move")).to_be_visible()
    assert float(re.search(r"([\d.]+) ml", row(page, "Whole tumour"))[1]) == pytest.approx(tumour_ml, rel=0.02)  # type: ignore[index]
    for name in INNER:
        assert "Withheld." in row(page, name)
        assert " ml" not in row(page, name)
    assert "reached a mean Dice of 0.46; below 0.50 a region is not shown." in row(page, "Tumour core")
    expect(page.locator(".label-table")).to_have_text("In the label map, 2 is whole tumour.")
    expect(page.locator(".legend > span")).to_have_text(["Whole tumour"])
    expect(page.get_by_text("Experimental", exact=True)).to_have_count(0)
    pictures = planes(page, poor, job["id"])
    assert seen(pictures, YELLOW) > 500
    assert seen(pictures, ORANGE) == seen(pictures, BLUE) == 0
    page.get_by_role("slider", name="Labels").fill("100")
    viewer = viewer_pixels(page)
    assert seen(viewer, YELLOW) > 2000
    assert seen(viewer, ORANGE) + seen(viewer, BLUE) < 50
    assert violations(page) == []
    picture(page, "volumes-withheld")


def test_experimental_regions_are_shown_to_who_asks_for_them(poor: Site, open_tab: OpenTab, picture: Picture) -> None:
    page = open_tab(poor.gateway, "/#volumes")
    choose(page, nifti("flair.nii.gz", phantom()[0]))
    page.get_by_label("Show regions as well that this model does not find reliably").check()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".job h3")).to_have_text("Done")
    expect(page.get_by_text("Click or scroll to move")).to_be_visible()
    for name in INNER:
        assert "Experimental" in row(page, name)
        assert re.search(r"[\d.]+ ml", row(page, name))
    assert "Experimental" not in row(page, "Whole tumour")
    assert "a mean Dice of 0.36" in row(page, "Enhancing tumour")
    expect(page.locator(".check.bad").first).to_contain_text("Experimental, shown because it was asked for")
    expect(page.locator(".legend > span")).to_have_text(["Necrotic core", "Oedema", "Enhancing"])
    pictures = planes(page, poor, page.url[-32:])
    assert min(seen(pictures, colour) for colour in (YELLOW, ORANGE, BLUE)) > 100
    assert violations(page) == []
    picture(page, "volumes-experimental")


def test_the_query_asks_for_experimental_regions_as_well(poor: Site, open_tab: OpenTab) -> None:
    job = finished(poor, "?experimental=true", flair=gzip.compress(phantom()[0], 1))
    assert list(job["measurements"]["experimental"]) == ["tumor_core", "necrotic_core", "oedema", "enhancing"]
    page = open_tab(poor.gateway, f"/#volumes/{job['id']}")
    expect(page.get_by_text("Experimental", exact=True)).to_have_count(len(INNER))


def test_the_series_of_a_study_stand_under_the_regions(poor: Site, open_tab: OpenTab) -> None:
    volume: Volume = make_phantom(SHAPE, make_affine(spacing_mm=SPACING_MM, shape=SHAPE), radius_mm=22.0)[0]
    study = to_zip(make_series(volume, number=7, description="t2_flair_tra")).getvalue()
    page = open_tab(poor.gateway, f"/#volumes/{finished(poor, dicom=study)['id']}")
    series = page.get_by_role("region", name="Series that were read")
    expect(series.get_by_role("row", name="FLAIR")).to_contain_text("7")
    drawn = page.evaluate(
        """async () => {
            const { seriesTable } = await import("/page/js/volume/report.js");
            const reasons = ["agent given", "<b>T1</b>"];
            const table = seriesTable([{ sequence: "t1ce", number: 4, slices: 20, reasons }]);
            return [...table.querySelectorAll("td, th, li")].map(({ textContent }) => textContent);
        }"""
    )
    assert drawn[4:] == ["T1 with contrast", "4", "20", "agent given<b>T1</b>", "agent given", "<b>T1</b>"]
