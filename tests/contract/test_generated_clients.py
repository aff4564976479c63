"""Clients generated afresh from a running gateway, compiled strictly, and run: the recipes of docs/clients.md."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.images import make_png
from tests.fixtures.volume_models import make_phantom, write_volume_bundle
from tests.fixtures.volumes import make_affine, nibabel, to_nifti
from tests.support.embedded import Embedded, embedded
from tests.support.generated_clients import Failed, Outcome, Tools, carry_out, install, missing, read_recipes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHAPE = (31, 27, 25)
VOLUME, LABELS = make_phantom(SHAPE, make_affine("LPS", (1.0, 1.0, 1.5), SHAPE, 15))
INPUTS = {
    "slice.png": make_png(64, 64),
    "flair.nii.gz": to_nifti(VOLUME.voxels, VOLUME.affine, compress=True),
}
RESULTS = ["segmentation.nii.gz", "report.json", "axial.png", "coronal.png", "sagittal.png", "backdrop.nii.gz"]
RECIPES = {recipe.name: recipe for recipe in read_recipes()}


def give_up(reason: str) -> None:
    """Skip with the reason; where everything must be tried, that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"no client can be generated here: {reason}")
    pytest.skip(f"no client can be generated here: {reason}")


@pytest.fixture(scope="module")
def tools() -> Tools:
    if reason := missing():
        give_up(reason)
    try:
        return install(list(RECIPES.values()))
    except Failed as error:
        give_up(str(error))
        raise


@pytest.fixture(scope="module")
def falx(tools: Tools, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    folder = tmp_path_factory.mktemp("clients")
    models = folder / "models"
    shutil.copytree(tiny_models, models)
    write_volume_bundle(models)
    with embedded(models, folder, limit_s=300.0) as one:
        yield one


@pytest.fixture(scope="module")
def outcomes(tools: Tools, falx: Embedded) -> Mapping[str, Outcome]:
    """All at once: each of them mostly waits."""
    with ThreadPoolExecutor() as pool:
        running = {
            name: pool.submit(carry_out, recipe, tools, falx.base_url, INPUTS) for name, recipe in RECIPES.items()
        }
        return {name: outcome.result() for name, outcome in running.items()}


def test_the_page_has_a_recipe_for_each_generator() -> None:
    assert len(RECIPES) == 5
    assert all(recipe.commands and recipe.program for recipe in RECIPES.values())


@pytest.mark.parametrize("name", RECIPES)
def test_a_client_classifies_outlines_submits_waits_and_fetches(
    name: str, outcomes: Mapping[str, Outcome], falx: Embedded
) -> None:
    outcome = outcomes[name]
    assert outcome.failure is None, outcome.failure
    image = {"Content-Type": "image/png"}
    classified = falx.ask("POST", "/v1/classifications", INPUTS["slice.png"], image).json()
    outlined = falx.ask("POST", "/v1/segmentations", INPUTS["slice.png"], image).json()
    label, probability, pixels, *rest = outcome.words
    assert (label, int(pixels)) == (classified["label"], outlined["tumor_pixels"])
    assert float(probability) == pytest.approx(classified["probability"])
    *told, millilitres = rest
    # Of the two slices that were sent at once, the second is a volume.
    assert told == ["200", "415", *RESULTS]
    assert float(millilitres) == pytest.approx(np.count_nonzero(LABELS) * 1.5 / 1000)
    saved = nibabel.Nifti1Image.from_bytes(gzip.decompress(outcome.labels))
    assert np.array_equal(np.asarray(saved.dataobj), LABELS)
