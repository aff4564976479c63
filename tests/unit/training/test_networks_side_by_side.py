"""The paper's networks under one budget: resumable, measured, and published from the record alone."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.support.commands import call
from training.comparison import networks
from training.comparison.networks import CLASSIFIERS, NETWORKS, SEGMENTERS, Budget, Networks, comparison_recipe
from training.comparison.page import MARKS, networks_page, publish, tables
from training.comparison.run import prepare
from training.config import ClassifierConfig, SegmenterConfig
from training.evaluation.intervals import compare
from training.folds.figures import calibrated
from training.folds.run import read_answers
from training.folds.view import open_folds
from training.loop.trainer import CHECKPOINT
from training.recipe import Train
from training.report.chart import fill

pytestmark = [
    pytest.mark.usefixtures("few_draws"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).resolve().parents[3]
ONLY = ("resnet50", "vgg16", "unet")
BUDGET = Budget(minutes=60, size=160, threads=2)


def test_every_network_of_the_paper_gets_the_same() -> None:
    assert CLASSIFIERS == ("resnet50", "resnet50v2", "densenet121", "efficientnet-b0", "inception-v3", "vgg16")
    assert SEGMENTERS == ("unet", "residual-unet", "attention-unet", "fcn-8s", "pspnet")
    steps = [step for step in comparison_recipe(BUDGET, ClassifierConfig.labels).steps if isinstance(step, Train)]
    assert [step.name for step in steps] == list(NETWORKS)
    for step in steps:
        config = step.configuration()
        assert isinstance(config, ClassifierConfig | SegmenterConfig)
        assert config.architecture == step.name
        assert config.schedule.time_limit_min == 60
        assert [phase.size for phase in config.schedule.phases] == [160]
        # Nothing to begin with and nobody to learn from.
        assert step.inputs == ()


@pytest.mark.parametrize(
    ("budget", "full"),
    [
        (BUDGET, True),
        (Budget(minutes=1, size=160, threads=2), False),
        (Budget(minutes=60, size=64, threads=2), False),
        (Budget(images=60_000, size=160, threads=2), True),
        (Budget(images=60, size=160, threads=2), False),
    ],
)
def test_a_trial_is_no_comparison(budget: Budget, full: bool) -> None:
    assert budget.full == full


def test_minutes_or_images() -> None:
    with pytest.raises(ValueError, match="minutes or images"):
        comparison_recipe(Budget(minutes=1, images=1, size=64, threads=1), ClassifierConfig.labels)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of few channels."""
    monkeypatch.setattr(networks, "_CLASSIFIER_WIDTH", 8)
    monkeypatch.setattr(networks, "_SEGMENTER_WIDTH", 4)


def command(data: Path, runs: Path) -> list[str | Path]:
    """Some of the networks for one step each, on one of two folds."""
    words = shlex.split("--folds 2 --images 8 --size 64")
    return ["compare", "--data", data, "--runs", runs, *words, *(word for name in ONLY for word in ("--only", name))]


def test_what_would_be_no_comparison_is_refused(grouped: Path, tmp_path: Path) -> None:
    words = command(grouped, tmp_path)
    for more, told in (
        (["--out", tmp_path / "docs"], "is a trial: it is not published"),
        (["--also", f"elsewhere={tmp_path}"], "was not trained on fold 0"),
        (["--also", f"vgg16={tmp_path}"], "is the name of a network from noise"),
        (["--only", "lenet"], "'lenet' is none of resnet50"),
    ):
        code, output = call(*words, *more)
        assert code == 2
        assert told in output


@pytest.mark.usefixtures("in_workspace", "narrow")
def test_by_one_command(grouped: Path, tmp_path: Path) -> None:
    words = command(grouped, tmp_path)
    code, output = call(*words)
    assert code == 0, output
    home = tmp_path / "2-folds" / "0"
    also = home / "comparison" / "resnet50"
    before = [(also / name).stat().st_mtime_ns for name in ("last.pt", "timed.onnx")]
    code, output = call(*words, "--also", f"the same={also}")
    assert code == 0, output
    assert [(also / name).stat().st_mtime_ns for name in ("last.pt", "timed.onnx")] == before

    found = Networks.read(home / "comparison")
    assert [network.name for network in found.networks] == [*ONLY, "the same"]
    resnet, vgg, unet, same = found.networks
    weights = torch.load(also / "last.pt", weights_only=False)["model"]
    running = [name for name in weights if "running" in name or "num_batches" in name]
    assert resnet.parameters == sum(value.numel() for name, value in weights.items() if name not in running)
    assert (resnet.images_seen, resnet.size) == (32, 64)
    assert all(ms > 0 for network in found.networks for ms in network.cpu_ms.values())
    assert all(network.cpu_ms.keys() == {"CPUExecutionProvider"} for network in found.networks)
    assert resnet.differences == unet.differences == ()
    six = next(item for item in same.differences if item.on == "tumor-classifier" and item.metric.name == "accuracy")
    assert (six.metric.value, six.only_first, six.only_second, six.p_value) == (0.0, 0, 0, 1.0)
    answers = [read_answers(home / "comparison" / name / "answers.npz") for name in ONLY[:2]]
    expected = compare(*(calibrated(item.restricted(six_labels(found)))[0] for item in answers))  # type: ignore[union-attr]
    told = next(item for item in vgg.differences if item.metric.name == "accuracy")
    assert told.metric.value == pytest.approx(-expected.difference)
    assert (told.only_first, told.only_second) == (expected.test.only_first, expected.test.only_second)
    assert {item.patients for network in found.networks for item in network.judged} == {()}
    assert (home / "comparison" / "networks.png").read_bytes()[:4] == b"\x89PNG"
    check_pages(found, home / "comparison", tmp_path)


def check_pages(found: Networks, folder: Path, out: Path) -> None:
    """That a trial says that it is one, and that a full comparison is published."""
    page = (folder / "networks.md").read_text()
    assert "**This is a trial: the comparison has not been run at its full budget.**" in page
    assert "| VGG16 |  |" in page
    assert "| classic U-Net |" in page
    assert "| the same (ResNet50) at 64 pixels |" in page
    paper = out / "paper.md"
    paper.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    publish(found.model_copy(update={"budget": BUDGET}), out / "docs", paper)
    assert Networks.read(out / "docs").budget == BUDGET
    assert "This is a trial" not in paper.read_text()
    assert "60 minutes of training each at 160 pixels" in re.sub(r"\s+", " ", paper.read_text())


@pytest.mark.usefixtures("narrow")
def test_no_network_pays_for_the_slices_of_the_others(
    grouped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folds = open_folds(grouped, tmp_path, 2)
    recipe = comparison_recipe(Budget(images=8, size=64, threads=1), ClassifierConfig.labels)
    prepare(recipe, ("vgg16", "unet"), folds, 0, "cpu")
    cached = {path.name.rsplit("-", 1)[0] for path in Path(".cache/training").iterdir()}
    wanted = {"slices-train-64", "slices-val-64", "lgg-train-64", "lgg-val-64", "outlined-train-64"}
    assert wanted <= cached
    assert not list(tmp_path.rglob(CHECKPOINT))


def six_labels(found: Networks) -> tuple[str, ...]:
    """Of the first label set, which the differences are of."""
    return found.networks[0].judged[0].labels


def test_the_documents_say_what_the_record_says() -> None:
    docs = ROOT / "docs" / "models"
    found = Networks.read(docs) if Networks.path(docs).exists() else None
    assert found is None or found.budget.full
    assert (docs / "networks.md").read_text() == networks_page(found)
    paper = (ROOT / "docs" / "paper.md").read_text()
    assert fill(paper, tables(found), MARKS) == paper
