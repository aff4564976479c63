"""From data to verified bundles through the command line, in miniature."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.runtime.bundle import load_bundle
from training import cli
from training.classification import export as classifier_export
from training.config import Phase, ScheduleConfig
from training.loop.checkpoints import load_trained
from training.recipe import BASES
from training.records import Evaluate, Export, Quantize
from training.segmentation import export as segmenter_export

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

TINY = ScheduleConfig(phases=(Phase(64, 16, 8),), epoch_images=8)


def falx(*arguments: str | Path) -> str:
    """Run ``python -m training`` in this process; what it printed."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped configurations with a schedule of sixteen slices, and one try at quantisation."""
    for name in ("classifier", "segmenter"):
        monkeypatch.setitem(BASES, name, dataclasses.replace(BASES[name], schedule=TINY))
    for room in (classifier_export, segmenter_export):
        monkeypatch.setattr(room, "CALIBRATION_SLICES", 8)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "name"), [("classifier", "tumor-classifier"), ("segmenter", "tumor-segmenter")])
def test_a_bundle_from_scratch(kind: str, name: str, data: Path, in_workspace: Path, tmp_path: Path) -> None:
    run = tmp_path / kind
    assert "100.0%" in falx("train", kind, "--data", data, "--run", run)
    # A finished run has nothing left to do.
    assert "%" not in falx("train", kind, "--data", data, "--run", run).replace("100%", "")
    assert "parity with torch" in falx("export", "--data", data, "--run", run, "--size", "64")
    falx("quantize", "--data", data, "--run", run)
    falx("evaluate", "--data", data, "--run", run, "--split", "test")
    falx("bundle", "--run", run, "--out", tmp_path / "models")

    export, quantized, evaluated = Export.read(run), Quantize.read(run), Evaluate.read(run)
    assert export.parity <= 1e-4
    assert export.images_seen == 16
    assert quantized.calibration_images >= 6
    falx("train", kind, "--data", data, "--run", tmp_path / "again", "--start-from", run)
    assert load_trained(tmp_path / "again").images_seen == 32
    assert {metric.split for metric in evaluated.reference} == {"test"}
    assert [metric.name for metric in evaluated.int8] == [metric.name for metric in evaluated.reference]

    bundle = load_bundle(tmp_path / "models" / name / "1")
    assert bundle.manifest.image_size == 64
    assert {file.variant for file in bundle.manifest.files} == {"reference", "int8"}
    # A graph of six labels has figures for the four of this bundle apart from its own.
    evaluated = Evaluate.read(run / name) if (run / name).exists() else evaluated
    assert bundle.manifest.metrics == evaluated.reference
    card = (tmp_path / "models" / name / "1" / "CARD.md").read_text()
    assert "Research use only. Not a medical device." in card
    assert ("## Failures" in card) == bool(evaluated.failures)
    assert re.search(r"^\| `model.onnx` \| reference \| \d+\.\d MiB \| \d+\.\d \|$", card, re.MULTILINE)
    for metric in evaluated.reference:
        assert metric.name in card
    assert json.loads((tmp_path / "models" / name / "1" / "manifest.json").read_text())["schema_version"] == 1


def test_steps_out_of_order_name_the_missing_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["bundle", "--run", str(tmp_path)])
    assert result.exit_code != 0
    assert "python -m training export" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("teacher --teacher x", "--teacher is for classifier, segmenter"),
        ("segmenter --encoder x", "--encoder is for segmenter-teacher"),
        ("segmenter-teacher --width 8", "--width is for classifier, segmenter, volume-segmenter"),
        ("volume-segmenter --preset paper", "--preset is for classifier, segmenter"),
        ("segmenter --multitask", "--multitask is for classifier"),
        ("classifier --train-slices", "--train-slices is for volume-segmenter"),
        ("classifier --architecture efficientnet-lite0", "classifier starts from noise"),
        ("teacher --architecture vgg16", "teacher starts from ImageNet"),
        ("segmenter --architecture vgg16", "Input should be 'unet'"),
    ],
)
def test_a_base_refuses_what_it_does_not_take(words: str, told: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["train", *words.split(), "--data", str(tmp_path), "--run", str(tmp_path)])
    assert result.exit_code == 2
    assert told in " ".join(result.output.replace("\u2502", " ").split())
