"""Cards: what is shipped equals what it is rendered from, and nothing of ours is said of anybody else's model."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from core.contracts.manifest import Manifest, Metric
from core.runtime.bundle import load_bundle
from tests.fixtures.models import classifier_network
from training import cli
from training.bundle.bundle import bundle_run
from training.bundle.card import filled, render_card
from training.records import Evaluate, Export

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "models").glob("*/*/CARD.md"))


def foreign_run(run: Path) -> Path:
    """An exported and scored ResNet50 of somebody else's labels."""
    run.mkdir()
    onnx.save(classifier_network(classes=2, temperature=1.0), run / "model.onnx")
    Export(
        kind="classifier",
        architecture="resnet50",
        size=64,
        labels=("cyst", "abscess"),
        parity=0.0,
        rounding=0.0,
        images_seen=640,
        sizes={"64": 0.5},
        temperature=1.0,
        conformal_quantile=0.5,
        coverage=0.95,
        max_distance=1.0,
    ).write(run)
    Evaluate(split="test", reference=(), confusion=((3, 1), (0, 4))).write(run)
    return run


@pytest.mark.parametrize("card", SHIPPED, ids=lambda path: path.parts[-3])
def test_shipped_cards_are_their_rendering(card: Path) -> None:
    assert card.read_text(encoding="utf-8") == render_card(card.parent)


@pytest.mark.parametrize("card", SHIPPED, ids=lambda path: path.parts[-3])
def test_shipped_cards_are_whole_and_readable(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    manifest = Manifest.model_validate_json((card.parent / "manifest.json").read_text())
    for metric in manifest.metrics:
        cells = (metric.name, metric.data_set, f"{metric.count} {metric.count_unit}", f"{metric.value:.3f}")
        assert f"| {' | '.join(cells)} |" in text
    for said in (manifest.licence, "## History", "cannot be remade", "## Failures", "CC BY 4.0"):
        assert said in text
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []
    # No line that goes on looks like an item of a list.
    assert re.search(r"(?m)^ +(?:[-*+]|\d+[.)])\s", text) is None
    # Every figure that the recipe speaks of was filled in.
    assert not re.search(r"[{}\\]", text)


def test_without_a_recipe_nothing_is_said_of_data_method_or_licence(tmp_path: Path) -> None:
    (folder,) = bundle_run(foreign_run(tmp_path / "run"), tmp_path / "models")
    manifest = load_bundle(folder).manifest
    card = (folder / "CARD.md").read_text()
    assert "No recipe: nothing is known of the data" in card
    assert manifest.labels == ("cyst", "abscess")
    assert manifest.data_sets == ()
    assert manifest.licence.startswith("Unknown")
    assert "640 augmented slices seen in training" in card
    assert "| cyst | 3 | 1 |" in card
    ours = (
        *(
            "Figshare",
            "Kaggle",
            "BraTS",
            "TCGA",
            "ImageNet",
            "CT head",
            "teacher",
            "near copy",
            "1,028",
            "1028",
            "CC BY",
        ),
        *("Apache", "brain", "Brain", "no_tumor", "candidate", "half its width", "published"),
    )
    assert [word for word in ours if word in card + manifest.model_dump_json()] == []
    assert render_card(folder) == card


def test_bundle_takes_a_name_and_a_recipe(tmp_path: Path) -> None:
    run = foreign_run(tmp_path / "run")
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        """
        bundle = { name = "mine", title = "Cysts and abscesses ({network})", licence = "Ours." }
        data = [{ name = "Our hospital's slices", licence = "not to be passed on" }]
        steps = [{ do = "train", name = "only", base = "classifier" }]
        text = { method = "As we did it.", limits = ["Adults only."] }
        """
    )
    result = CliRunner().invoke(
        cli.app, ["bundle", "--run", str(run), "--out", str(tmp_path / "models"), "--recipe", str(recipe)]
    )
    assert result.exit_code == 0, result.output
    card = (tmp_path / "models/mine/1/CARD.md").read_text()
    assert "# Cysts and abscesses (ResNet50)" in card
    for said in ("- Our hospital's slices: not to be passed on", "As we did it.", "- Adults only.", "Ours."):
        assert said in card
    result = CliRunner().invoke(
        cli.app, ["bundle", "--run", str(run), "--out", str(tmp_path / "models"), "--name", "other", "--version", "2"]
    )
    assert result.exit_code == 0, result.output
    assert load_bundle(tmp_path / "models/other/2").manifest.name == "other"

    recipe.write_text(recipe.read_text().replace("Adults only.", "Children only."))
    result = CliRunner().invoke(cli.app, ["card", str(tmp_path / "models/mine/1")])
    assert result.exit_code == 0, result.output
    assert "- Children only." in (tmp_path / "models/mine/1/CARD.md").read_text()


def test_a_sentence_without_its_figure_is_left_out() -> None:
    metric = Metric(name="accuracy", value=0.12345, data_set="all", split="test", count=7)
    figures = {("accuracy", "all", "test"): metric}
    assert filled("right on {accuracy | all | test}", figures) == "right on 0.123"
    assert filled("right on {accuracy | all | test | .4f} of {accuracy|all|test|n}", figures) == "right on 0.1235 of 7"
    assert filled("right on {accuracy | all | val}", figures) is None
    assert filled("no figure", {}) == "no figure"
