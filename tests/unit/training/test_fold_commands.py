"""Candidates on folds through the command line: resumed fold by fold, answered by who has not seen the fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import call
from tests.support.recipes import classifier_step
from training.evaluation.answers import ClassAnswers, MaskAnswers
from training.folds.assign import read_items
from training.folds.report import Evidence
from training.folds.run import Candidate, read_answers

pytestmark = [
    pytest.mark.usefixtures("few_draws"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.timeout(600),
]

RECIPE = f"""
[bundle]
name = "tiny"
title = "Tiny ({{network}})"
licence = "Drawn by a test; no rights are claimed."
[[data]]
name = "Drawn heads"
licence = "none"
{classifier_step("first", 8)}
{classifier_step("second", 16, 'start = "first"')}
[[steps]]
do = "train"
name = "aside"
base = "segmenter"
config.width = 4
config.schedule = {{ phases = [{{ size = 64, images = 8, batch = 4 }}], epoch_images = 8 }}
[text]
method = "By a test."
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return str(path)


def test_a_step_is_made_of_those_it_reads(recipe: str) -> None:
    assert [step.name for step in Candidate.named(f"{recipe}:second").steps] == ["first", "second"]
    assert [step.name for step in Candidate.named(recipe).steps] == ["aside"]


def test_classifiers_fold_by_fold(grouped: Path, recipe: str, in_workspace: Path, tmp_path: Path) -> None:
    folds: list[str | Path] = [
        "folds",
        f"{recipe}:first",
        f"{recipe}:second",
        "--data",
        grouped,
        "--folds",
        "2",
        "--runs",
        tmp_path,
    ]
    code, output = call(*folds, "--report-only")
    assert code == 2
    assert "tiny:first has answered no fold yet" in output
    assert call(*folds, "--fold", "1")[0] == 0
    home = tmp_path / "2-folds"
    assert Evidence.read(home).candidates["tiny:second"][0].folds == (1,)
    checkpoint = home / "1" / "tiny" / "first" / "last.pt"
    before = checkpoint.stat().st_mtime_ns
    code, output = call(*folds)
    assert code == 0
    # What was done is not done again; the first step serves both candidates.
    assert "tiny:second, fold 1 first (step): done second (step): done second (answers): done" in output
    assert checkpoint.stat().st_mtime_ns == before

    held_out = {item.name: item for item in read_items(home / "folds.csv") if item.table == "slices.csv"}
    answers = read_answers(home / "answers" / "tiny-second.npz")
    assert isinstance(answers, ClassAnswers)
    assert sorted(answers.images.tolist()) == sorted(name for name, item in held_out.items() if item.fold >= 0)
    assert all(held_out[name].fold == fold for name, fold in zip(answers.images, answers.folds.tolist(), strict=True))
    assert all(held_out[name].group == group for name, group in zip(answers.images, answers.groups, strict=True))
    evidence = Evidence.read(home)
    (judged,) = evidence.candidates["tiny:first"]
    accuracy = next(metric for metric in judged.figures if metric.name == "accuracy")
    first = read_answers(home / "answers" / "tiny-first.npz")
    assert isinstance(first, ClassAnswers)
    assert accuracy.value == pytest.approx(float(np.mean(first.logits.argmax(axis=1) == first.labels)))
    assert {item.second for item in evidence.differences} == {"tiny:second"}
    page = (home / "evidence.md").read_text()
    assert "## tiny:second, tumor-classifier" in page
    assert "| tiny:second less tiny:first | tumor-classifier | accuracy |" in page


def test_segmenters_by_patient(grouped: Path, recipe: str, in_workspace: Path, tmp_path: Path) -> None:
    code, output = call("folds", recipe, "--data", grouped, "--folds", "2", "--fold", "0", "--runs", tmp_path)
    assert code == 0, output
    home = tmp_path / "2-folds"
    answers = read_answers(home / "answers" / "tiny.npz")
    assert isinstance(answers, MaskAnswers)
    items = read_items(home / "folds.csv")
    patients = {item.name.rsplit("_", 1)[0] for item in items if item.table == "lgg.csv" and item.fold == 0}
    (judged,) = Evidence.read(home).candidates["tiny"]
    dice = next(metric for metric in judged.figures if metric.name.startswith("volumetric Dice a patient, mean"))
    assert (dice.count, dice.count_unit) == (len(patients), "patients")
    assert "volumetric Dice a patient, mean (flair alone)" in (home / "evidence.md").read_text()


def test_volumes_are_refused_before_anything_is_trained(grouped: Path, recipe: str, tmp_path: Path) -> None:
    Path(recipe).write_text(RECIPE.replace('base = "segmenter"', 'base = "volume-segmenter"'))
    code, output = call("folds", recipe, "--data", grouped, "--folds", "2", "--runs", tmp_path)
    assert code == 2
    assert "no figures are made of what a volume-segmenter answers out of fold" in output
    assert not list(tmp_path.rglob("last.pt"))


def test_what_is_not_there_is_named(grouped: Path, recipe: str, tmp_path: Path) -> None:
    code, output = call("folds", f"{recipe}:third", "--data", grouped, "--runs", tmp_path)
    assert code == 2
    assert "no step 'third': there are first, second, aside" in output
    code, output = call("folds", recipe, "--data", grouped, "--fold", "7", "--folds", "2", "--runs", tmp_path)
    assert code == 2
    assert "there is no fold 7: they are 0 to 1" in output
    code, output = call("folds", "nobody", "--data", grouped, "--runs", tmp_path)
    assert code == 2
    assert "recipes by name:" in output
