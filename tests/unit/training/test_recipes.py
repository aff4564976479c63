"""Recipes: from a file to a served bundle, interrupted and resumed; what is wrong in one is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from core.runtime.bundle import load_bundle
from core.runtime.session import OrtSession
from tests.support.layouts import head, save
from tests.support.recipes import classifier_step
from training import cli, make
from training.bundle.measured import Measured
from training.classification.task import ClassifierTask
from training.config import ClassifierConfig
from training.loop.checkpoints import load_trained
from training.loop.trainer import CHECKPOINT
from training.make import ChangedError, GateError, Kitchen
from training.recipe import RECIPES, parse_recipe, read_recipe
from training.records import Evaluate

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 240.0
TINY = """
[bundle]
name = "tiny"
title = "Tiny classifier ({network})"
licence = "Drawn by a test; no rights are claimed."
[[bundle.label_sets]]
name = "tiny"
labels = ["glioma", "meningioma", "pituitary", "no_tumor"]
[[bundle.label_sets]]
name = "tiny-two"
labels = ["glioma", "no_tumor"]
title = "Tiny classifier, two labels ({network})"

[[data]]
name = "Drawn heads"
licence = "none"
"""
TINY += classifier_step("first", 16)
TINY += classifier_step("second", 48, 'start = "first"', "config.schedule.learning_rate = 5e-4")
TINY += """
[[steps]]
do = "average"
name = "mean"
of = ["first", "second"]

[[steps]]
do = "combine"
name = "both"
members = ["second", "mean"]

[quantize]
int8 = false

[[gates]]
figure = "accuracy"
data_set = "four-source slices"
bundle = "tiny"
at_least = 0.0

[text]
method = "Two tiny networks."
limits = [
    "Right on {accuracy | four-source slices | test} of the slices.",
    "Its twin is right on {accuracy | twins | test}.",
]
history = ["The first of its name."]
"""


# Two trainings and no more.
SHORT = TINY.partition('[[steps]]\ndo = "average"')[0] + "[quantize]" + TINY.partition("[quantize]")[2]
SHORT = SHORT.replace("images = 48", "images = 8").replace("images = 16", "images = 8")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    torch.set_num_threads(1)
    return path


def kitchen(data: Path, folder: Path, *, redo: bool = False) -> Kitchen:
    return Kitchen(data, folder / "runs", folder / "models", redo=redo, console=Console(file=StringIO(), width=200))


def told(place: Kitchen) -> str:
    assert isinstance(place.console.file, StringIO)
    return place.console.file.getvalue()


def kill_in_the_second_step(recipe: Path, data: Path, folder: Path) -> int:
    """Run ``make`` as a process until the second training has a checkpoint, kill it; the images seen by then."""
    command = [sys.executable, "-m", "training", "make", str(recipe), "--data", str(data), "--threads", "1"]
    command += ["--runs", str(folder / "runs"), "--out", str(folder / "models")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    checkpoint = folder / "runs" / "tiny" / "second" / CHECKPOINT
    end = time.monotonic() + LIMIT_S
    while not checkpoint.exists():
        assert process.poll() is None, f"it ended with {process.returncode} before the second step began"
        assert time.monotonic() < end, f"no second step after {LIMIT_S} s"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return load_trained(checkpoint.parent).images_seen


def test_a_recipe_is_made_interrupted_resumed_and_served(tiny: Path, data: Path, tmp_path: Path) -> None:
    seen = kill_in_the_second_step(tiny, data, tmp_path)
    runs, models = tmp_path / "runs" / "tiny", tmp_path / "models"
    # 16 slices of the first step and some of the 48 of the second.
    assert 16 < seen < 64
    assert not (runs / "mean").exists()
    first = (runs / "first" / CHECKPOINT).stat().st_mtime_ns
    begun = load_trained(runs / "second").history

    place = kitchen(data, tmp_path)
    folders = make.make(str(tiny), place, test=True)
    assert "first (step): done" in told(place)
    assert "second (step): goes on" in told(place)
    assert "mean (step): begins" in told(place)
    assert (runs / "first" / CHECKPOINT).stat().st_mtime_ns == first
    assert load_trained(runs / "second").images_seen == 64
    assert load_trained(runs / "second").history[: len(begun)] == begun

    assert folders == (models / "tiny/1", models / "tiny-two/1")
    four, two = map(load_bundle, folders)
    assert four.manifest.title == "Tiny classifier (2 x VGG16)"
    assert four.manifest.data_sets == ("Drawn heads, none",)
    assert four.manifest.licence == "Drawn by a test; no rights are claimed."
    assert two.manifest.label_indices == (0, 3)
    (file,) = two.manifest.files
    assert file.bundle == "tiny/1"
    assert {metric.split for metric in four.manifest.metrics} == {"test"}
    assert four.manifest.metrics == Evaluate.read(runs / "both/test/tiny").reference
    session = OrtSession(two.file_path(file), force_cpu=True)
    answer = session.run({"image": np.zeros((1, 1, 64, 64), np.float32)})
    assert (1, 4) in [value.shape for value in answer.values()]

    card = (folders[0] / "CARD.md").read_text()
    accuracy = next(metric.value for metric in four.manifest.metrics if metric.name == "accuracy")
    assert f"- Right on {accuracy:.3f} of the slices." in card
    # What was not measured of this bundle is not said.
    assert "twin" not in card
    assert "Two tiny networks." in card
    assert "The first of its name." in card

    again = kitchen(data, tmp_path)
    make.make(str(tiny), again, test=True)
    assert set(told(again).split("\n")) == {
        *(f"{name} (step): done" for name in ("first", "second", "mean", "both")),
        *("both (export): done", "both (quantize): done", "evaluate on val: done", "evaluate on test: done", ""),
    }


def test_a_network_of_photographs_is_asked_for_before_anything_is_trained(
    tiny: Path, data: Path, tmp_path: Path
) -> None:
    tiny.write_text(TINY.replace('start = "first"', "photographs = true"))
    with pytest.raises(ValueError, match="--photographs"):
        make.make(str(tiny), kitchen(data, tmp_path))
    assert not (tmp_path / "runs").exists()
    tiny.write_text(TINY.replace('start = "first"', 'start = "first"\nphotographs = true'))
    with pytest.raises(ValueError, match="not both"):
        make.make(str(tiny), kitchen(data, tmp_path))


def test_other_settings_are_refused_or_made_anew(tiny: Path, data: Path, tmp_path: Path) -> None:
    tiny.write_text(SHORT)
    make.make(str(tiny), kitchen(data, tmp_path))
    runs = tmp_path / "runs" / "tiny"
    other = SHORT.replace("learning_rate = 5e-4", "learning_rate = 1e-4")
    tiny.write_text(other)
    first, second = ((runs / name / CHECKPOINT).stat().st_mtime_ns for name in ("first", "second"))
    with pytest.raises(ChangedError, match=r"config.schedule.learning_rate was 0.0005, is 0.0001.*--redo"):
        make.make(str(tiny), kitchen(data, tmp_path))
    assert (runs / "second" / CHECKPOINT).stat().st_mtime_ns == second

    # What was made from it is made anew with it, and nothing else; what misses a gate is no bundle.
    tiny.write_text(other.replace("at_least = 0.0", "at_least = 1.1"))
    bundle = tmp_path / "models/tiny/1/manifest.json"
    written = bundle.stat().st_mtime_ns
    place = kitchen(data, tmp_path, redo=True)
    with pytest.raises(GateError, match=r"accuracy \(four-source slices\) on val is 0\.\d+, the recipe asks for 1\.1"):
        make.make(str(tiny), place)
    assert "first (step): done" in told(place)
    assert (runs / "first" / CHECKPOINT).stat().st_mtime_ns == first
    assert "second (step): begins" in told(place)
    assert (runs / "second" / CHECKPOINT).stat().st_mtime_ns > second
    assert "second (export): begins" in told(place)
    assert bundle.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "tiny"\ntitle', 'colour = "red"\nname = "tiny"\ntitle', "bundle.colour: is not known"),
        ('start = "first"', 'stars = "first"', "steps.1.train.stars: is not known"),
        ("learning_rate = 5e-4", "lerning_rate = 5e-4", "config.schedule.lerning_rate is not known: there are phases"),
        ("config.width = 8", 'config.width = "wide"', "width"),
        ('start = "first"', 'start = "both"', "the step 'second' reads 'both', which no earlier step makes"),
        ('name = "mean"', 'name = "first"', "the step 'first' stands there twice"),
        ('do = "average"', 'do = "mean"', "steps.2"),
        ("int8 = false", "int8 = false\nint4 = true", "quantize.int4: is not known"),
        ("[quantize]", "[quantise]", "quantise: is not known"),
        ("licence = \"Drawn", "remakeable = false\nlicence = \"Drawn", "`reason` says why"),
        ("[bundle]", "[bundle", "is no TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_recipe_is_named(old: str, new: str, said: str) -> None:
    assert parse_recipe(TINY, "tiny.toml").steps[0].name == "first"
    with pytest.raises(ValueError, match=r"^tiny.toml") as caught:
        parse_recipe(TINY.replace(old, new, 1), "tiny.toml")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_shipped_recipe_is_one(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.bundle.name == name
    assert recipe.data
    assert recipe.gates
    assert recipe.bundle.licence
    # Each step ends in what is shipped.
    needed = {recipe.steps[-1].name}
    for step in reversed(recipe.steps):
        assert step.name in needed
        needed |= set(step.inputs)


def test_every_key_of_recipes_is_described() -> None:
    described = (RECIPES / "README.md").read_text()
    for name in [path.stem for path in RECIPES.glob("*.toml")]:
        for part, value in read_recipe(name).model_dump().items():
            items = value if isinstance(value, tuple) else (value,)
            assert f"`[{part}]`" in described or f"`[[{part}]]`" in described
            for item in items:
                assert [key for key in item if f"`{key}`" not in described] == []


def test_a_bundle_that_cannot_be_remade_says_so(data: Path) -> None:
    result = CliRunner().invoke(cli.app, ["make", "tumor-volume", "--data", str(data)])
    assert result.exit_code == 1
    assert "tumor-volume cannot be remade: The classic U-Net inside it" in " ".join(result.output.split())
    assert "--equal" in result.output
    result = CliRunner().invoke(cli.app, ["make", "tumour", "--data", str(data)])
    assert result.exit_code == 1
    assert "recipes by name: tumor-classifier" in " ".join(result.output.split())


def test_a_label_that_the_folder_lacks_is_named(tiny: Path, tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "slices"
    for label in ("glioma", "healthy"):
        save(head(3), folder / "train" / label / "patient-1" / "slice.png")
    tiny.write_text(SHORT)
    with pytest.raises(
        ValueError, match=r"train of .* has no slices of meningioma, pituitary, but of: glioma, no_tumor"
    ):
        make.make(str(tiny), kitchen(folder, tmp_path))
    tiny.write_text("\n".join(line for line in SHORT.splitlines() if not line.startswith("config.labels")))
    with pytest.raises(ValueError, match=r"no slices of .*, neurocytoma, schwannoma, but of: glioma, no_tumor"):
        make.make(str(tiny), kitchen(folder, tmp_path / "usual"))
    # Nothing was made, so that nothing stands in the way of the corrected recipe.
    tiny.write_text(SHORT.replace('"glioma", "meningioma", "pituitary", "no_tumor"', '"glioma", "cyst"'))
    with pytest.raises(ValueError, match=r"no slices of cyst, but of: glioma, no_tumor"):
        make.make(str(tiny), kitchen(folder, tmp_path / "usual"))
    config = ClassifierConfig(labels=("abscess", "cyst"))
    with pytest.raises(ValueError, match=r"no slices of abscess, cyst, but of: glioma, meningioma,"):
        ClassifierTask(config, data, "cpu")


def test_shipped_bundles_have_a_recipe() -> None:
    for folder in (ROOT / "models").glob("*/*"):
        recipe = Measured.read(folder).recipe
        assert recipe is not None
        names = {read_recipe(recipe).bundle.name, *read_recipe(recipe).label_sets}
        assert folder.parent.name in names
