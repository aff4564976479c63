"""DICOM in the volume view: folders that are zipped in the browser, and series that people name."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from pydicom import uid

from core.imaging.volume import Volume
from tests.fixtures.images import make_dicom
from tests.fixtures.volume_models import make_phantom
from tests.fixtures.volumes import make_affine, make_series, to_zip
from tests.support.browser import OpenTab, Picture, violations
from tests.support.volume_site import SHAPE, SPACING_MM, Site, check_image_and_labels, choose


def test_a_dicom_folder_is_zipped_here_without_its_names(site: Site, open_tab: OpenTab, tmp_path: Path) -> None:
    affine = make_affine(spacing_mm=SPACING_MM, shape=SHAPE)
    volume, _ = make_phantom(SHAPE, affine, radius_mm=22.0)
    series = make_series(volume, description="t2_flair_tra")
    folder = tmp_path / "patient-4711"
    folder.mkdir()
    for index, data in enumerate(series):
        (folder / f"4711_{index}.dcm").write_bytes(data)
    page = open_tab(site.gateway, "/#volumes")
    sent: list[bytes] = []
    page.on(
        "request", lambda request: sent.append(request.post_data_buffer or b"") if request.method == "POST" else None
    )
    page.get_by_label("Choose a folder").set_input_files(folder)
    expect(page.get_by_text(f"DICOM folder of {len(series)} files")).to_be_visible()
    zipped = page.evaluate(
        """async () => {
            const { zipOf } = await import("/page/js/volume/zip.js");
            const blob = await zipOf([new File(["one"], "4711-a"), new File(["two, longer"], "4711-b")]);
            return [...new Uint8Array(await blob.arrayBuffer())];
        }"""
    )
    with zipfile.ZipFile(io.BytesIO(bytes(zipped))) as archive:
        assert archive.testzip() is None
        assert [archive.read(name) for name in archive.namelist()] == [b"one", b"two, longer"]
        assert archive.namelist() == ["000000", "000001"]
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".job h3")).to_have_text("Done")
    expect(page.get_by_role("row", name=re.compile("Whole tumour"))).to_be_visible()
    check_image_and_labels(page)
    assert not any(b"4711_" in body for body in sent)


def study(*series: tuple[str, dict[str, Any]]) -> list[bytes]:
    """Series of one head by their descriptions and further elements, numbered from 1, each of its own grey."""
    volume, _ = make_phantom(SHAPE, make_affine(spacing_mm=SPACING_MM, shape=SHAPE), radius_mm=22.0)
    files = []
    for number, (description, elements) in enumerate(series, start=1):
        grey = Volume(volume.voxels + number * np.sqrt(np.abs(volume.voxels)), volume.affine)
        files += make_series(grey, number=number, description=description, elements=elements)
    return files


WATCH = """() => {
    window.seriesSent = [];
    const send = XMLHttpRequest.prototype.send;
    XMLHttpRequest.prototype.send = function (form) {
        form.get("job").text().then((text) => window.seriesSent.push(JSON.parse(text).series ?? null));
        return send.call(this, form);
    };
}"""


def series_sent(page: Page) -> list[Any]:
    """What each request since ``WATCH`` has said of series."""
    sent: list[Any] = page.evaluate("window.seriesSent")
    return sent


def sequences_of(site: Site, page: Page) -> list[str]:
    """The sequences that the finished job on the screen was made from."""
    expect(page.locator(".job h3")).to_have_text("Done")
    found: list[str] = site.gateway.request("GET", f"/v1/jobs/{page.url[-32:]}").json()["provenance"]["sequences"]
    return found


def test_series_of_a_folder_that_say_nothing_are_named_by_people(
    site: Site, open_tab: OpenTab, picture: Picture, tmp_path: Path
) -> None:
    for index, data in enumerate(study(("axial brain", {}), ("axial brain, later", {}))):
        (tmp_path / f"{index}.dcm").write_bytes(data)
    (tmp_path / "README").write_text("no DICOM")
    page = open_tab(site.gateway, "/#volumes")
    page.evaluate(WATCH)
    page.get_by_label("Choose a folder").set_input_files(tmp_path)
    first = page.get_by_label("Sequence of axial brain, 56 files", exact=True)
    later = page.get_by_label("Sequence of axial brain, later, 56 files", exact=True)
    expect(first).to_have_value("")
    expect(page.get_by_text("Say of at least one series which sequence it is.")).to_be_visible()
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    first.select_option("flair")
    later.select_option("flair")
    expect(page.get_by_text("Two series are marked as FLAIR: leave one out.")).to_be_visible()
    later.select_option("t1ce")
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    assert violations(page) == []
    picture(page, "volumes-dicom-series")
    page.get_by_role("button", name="Start").click()
    assert sorted(sequences_of(site, page)) == ["flair", "t1ce"]
    assert series_sent(page) == [{"1.2.3.1": "flair", "1.2.3.2": "t1ce"}]
    storage = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    for kept in (page.url, page.title(), storage):
        assert "axial" not in kept


def test_series_of_a_zip_are_shown_as_they_are_guessed_and_can_be_changed(site: Site, open_tab: OpenTab) -> None:
    files = study(
        ("t2_haste_localizer", {}), ("t1_se_ax", {"ContrastBolusAgent": "Gadovist"}), ("ax dark-fluid", {}),
        ("t2_tse", {"Modality": "CT"}),
    )  # fmt: skip
    unread = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.9", "SeriesDescription": "survey"}
    files.append(make_dicom(elements=unread, transfer_syntax=uid.DeflatedExplicitVRLittleEndian))
    page = open_tab(site.gateway, "/#volumes")
    page.evaluate(WATCH)
    choose(page, {"name": "study.zip", "mimeType": "application/zip", "buffer": to_zip(files).getvalue()})
    expect(page.get_by_label("Sequence of t2_haste_localizer, 56 files")).to_have_value("")
    expect(page.get_by_label("Sequence of t1_se_ax, 56 files")).to_have_value("t1ce")
    expect(page.get_by_label("Sequence of ax dark-fluid, 56 files")).to_have_value("flair")
    expect(page.locator("#view-volumes .rows select")).to_have_count(3)
    expect(page.get_by_text("The server will choose for files not read here (1).")).to_be_visible()
    page.get_by_label("Sequence of ax dark-fluid, 56 files").select_option("t2")
    page.get_by_role("button", name="Start").click()
    assert sorted(sequences_of(site, page)) == ["t1ce", "t2"]
    assert series_sent(page) == [{"1.2.3.1": None, "1.2.3.2": "t1ce", "1.2.3.3": "t2"}]


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04 no zip at all",
        to_zip({"letter.txt": b"text"}).getvalue(),
        to_zip({"a": make_dicom()}).getvalue()[:-30],
    ],
    ids=["no zip", "no DICOM", "cut off"],
)
def test_a_zip_that_is_not_understood_is_left_to_the_server(site: Site, open_tab: OpenTab, data: bytes) -> None:
    page = open_tab(site.gateway, "/#volumes")
    page.evaluate(WATCH)
    choose(page, {"name": "study.zip", "mimeType": "application/zip", "buffer": data})
    expect(page.get_by_text("The server will choose the sequences.")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".problem[data-code=invalid-dicom]")).to_be_visible()
    assert series_sent(page) == [None]
