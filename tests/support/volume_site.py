"""A site for volumes, the phantoms that it is shown, and what a browser then shows of them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from core.jobs.embedded import EmbeddedValkey
from tests.fixtures.servers import Server, free_port, running
from tests.fixtures.volume_models import make_phantom, write_volume_bundle
from tests.fixtures.volumes import make_affine, to_nifti
from tests.support.browser import wait_for_port

SHAPE = (60, 72, 56)
SPACING_MM = (2.0, 2.0, 2.0)
# Enough to be seen at work and reloaded meanwhile.
SLOW_LAYERS = 6


class Site:
    """A gateway with a queue and a store, and workers as wanted."""

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        slow_layers: int = 0,
        manifest: Mapping[str, Any] | None = None,
        **settings: str,
    ) -> None:
        valkey = EmbeddedValkey(folder / "queue")
        stack.callback(valkey.stop)
        self._stack = stack
        self.env = {
            "FALX_REDIS_URL": valkey.start(),
            "FALX_BLOBS_URL": str(folder / "blobs"),
            "FALX_BLOBS_MIN_FREE_BYTES": "0",
            "FALX_MODELS_DIR": str(write_volume_bundle(folder / "models", slow_layers=slow_layers, **(manifest or {}))),
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
def at_work(folder: Path, slow_layers: int = 0, manifest: Mapping[str, Any] | None = None) -> Iterator[Site]:
    """A site with a worker; ``manifest`` are fields of its model's that differ."""
    with ExitStack() as stack:
        site = Site(stack, folder, slow_layers, manifest)
        site.start_worker()
        yield site


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
