"""The volume view in a real browser: gateway, queue, store, worker and a tiny network, all real."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect
from pydicom import uid

from core.imaging.volume import Volume
from core.jobs.embedded import EmbeddedValkey
from tests.browser.conftest import OpenTab, wait_for_port
from tests.browser.test_access import PHONE, violations
from tests.fixtures.answers import in_multipart
from tests.fixtures.images import make_dicom
from tests.fixtures.servers import Server, free_port, running
from tests.fixtures.volume_models import make_phantom, write_volume_bundle
from tests.fixtures.volumes import make_affine, make_series, nibabel, to_nifti, to_zip

Picture = Callable[[Page, str], None]
SHAPE = (60, 72, 56)
SPACING_MM = (2.0, 2.0, 2.0)
# Enough to be seen at work and reloaded meanwhile.
SLOW_LAYERS = 6


class Site:
    """A gateway with a queue and a store, and workers as wanted."""

    def __init__(self, stack: ExitStack, folder: Path, slow_layers: int = 0, **settings: str) -> None:
        valkey = EmbeddedValkey(folder / "queue")
        stack.callback(valkey.stop)
        self._stack = stack
        self.env = {
            "FALX_REDIS_URL": valkey.start(),
            "FALX_BLOBS_URL": str(folder / "blobs"),
            "FALX_BLOBS_MIN_FREE_BYTES": "0",
            "FALX_MODELS_DIR": str(write_volume_bundle(folder / "models", slow_layers=slow_layers)),
            **settings,
        }
        nobody = f"http://127.0.0.1:{free_port()}"
        urls = {"FALX_CLASSIFIER_URL": nobody, "FALX_SEGMENTER_URL": nobody}
        self.gateway = stack.enter_context(running("gateway", {**self.env, **urls}, wait_ready=False))
        wait_for_port(self.gateway)

    def start_worker(self) -> Server:
        return self._stack.enter_context(
            running("segmenter_service", self.env, arguments=["worker"], start_limit_s=240)
        )


@contextmanager
def at_work(folder: Path, slow_layers: int = 0) -> Iterator[Site]:
    """A site with a worker."""
    with ExitStack() as stack:
        site = Site(stack, folder, slow_layers)
        site.start_worker()
        yield site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with at_work(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def slow_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One whose jobs can be seen at work."""
    with at_work(tmp_path_factory.mktemp("slow"), SLOW_LAYERS) as site:
        yield site


@pytest.fixture
def idle_site(tmp_path: Path) -> Iterator[Site]:
    """Nobody works here, and two jobs may wait."""
    with ExitStack() as stack:
        yield Site(stack, tmp_path, FALX_MAX_QUEUED_JOBS="2")


def phantom() -> tuple[bytes, float]:
    """A NIfTI file of a head, and the volume of its whole tumour in ml."""
    affine = make_affine(spacing_mm=SPACING_MM, shape=SHAPE)
    volume, labels = make_phantom(SHAPE, affine, radius_mm=22.0)
    return to_nifti(volume.voxels, affine), float((labels > 0).sum()) * 8 / 1000


def nifti(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/gzip", "buffer": gzip.compress(data, 1)}


def choose(page: Page, *files: FilePayload) -> None:
    page.locator("#view-volumes").get_by_label("Choose files", exact=True).set_input_files(list(files))


def viewer_pixels(page: Page) -> npt.NDArray[np.int64]:
    """What the viewer of volumes shows once it has drawn, (h, w, 3)."""
    page.wait_for_timeout(500)
    shot = page.locator(".volume canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(np.int64)


def tiles(pixels: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """The viewer's four parts: three planes, and below them on the right the rendering."""
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
    return [pixels[row : row + rows, column : column + columns] for row in (0, rows) for column in (0, columns)]


def check_image_and_labels(page: Page) -> None:
    """The lesion is bright in the image and coloured by the labels, at the same place in all planes and in 3D."""
    expect(page.get_by_text("Click or scroll to move")).to_be_visible()
    expect(page.get_by_role("slider", name="White from")).to_be_enabled()
    page.get_by_role("slider", name="Labels").fill("0")
    grey = tiles(viewer_pixels(page))
    page.get_by_role("slider", name="Labels").fill("100")
    labelled = tiles(viewer_pixels(page))
    page.get_by_role("slider", name="Labels").fill("50")
    page.get_by_role("slider", name="Labels").blur()
    for image, labels in zip(grey[:3], labelled[:3], strict=True):
        # The cross stands before both.
        seen = np.minimum(image, labels).min(axis=2) < 200
        bright, coloured = (image.min(axis=2) > 90) & seen, (np.ptp(labels, axis=2) > 60) & seen
        assert (np.ptp(image, axis=2) > 60).mean() < 0.002, "no label is left at an opacity of 0"
        assert (bright & coloured).sum() / (bright | coloured).sum() > 0.85
        assert coloured.mean() > 0.02
    assert (grey[3].max(axis=2) > 8).mean() > 0.15, "the rendering shows the image"
    assert (np.ptp(labelled[3], axis=2) > 60).sum() > (np.ptp(grey[3], axis=2) > 60).sum() + 200


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
