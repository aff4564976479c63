"""Controls find what they look for and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from training.commands.data import controls_command
from training.data.labelled import Slices
from training.data.samples import Sample
from training.evaluation.controls import (
    SHORTCUTS,
    Controls,
    classification_control,
    nearest_neighbour,
    outermost,
    run_controls,
    support_vectors,
)

BY_NAME = {shortcut.name: shortcut for shortcut in SHORTCUTS}


def drawn(count: int, seed: int, *, in_frame: bool) -> Slices:
    """Noise whose label, one of two, is told by the brightness of the frame or of the middle."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    pixels = generator.integers(0, 40, (count, 64, 64))
    bright = np.zeros((64, 64), bool)
    if in_frame:
        bright[:2] = True
    else:
        bright[28:36, 28:36] = True
    pixels[labels == 1] += 90 * bright
    rows = tuple(Sample(f"p{index}", ("image",), "figshare") for index in range(count))
    images = pixels.astype(np.uint8)
    return Slices(labels, rows, images, np.zeros_like(images), np.zeros(count, bool))


def accuracy_of(name: str, *, in_frame: bool) -> float:
    train, asked = drawn(40, 0, in_frame=in_frame), drawn(60, 1, in_frame=in_frame)
    return classification_control(BY_NAME[name], train, asked, "val")[0].value


def test_what_each_control_sees() -> None:
    pixels = np.arange(64 * 64, dtype=np.int64).reshape(1, 64, 64) % 256
    thumbnails = pixels.astype(np.uint8)
    assert outermost(thumbnails, BY_NAME["RBF-SVM"].width).shape == (1, 4096)
    # 64 x 64 less the middle 60 x 60, and less the middle 48 x 48.
    frame = outermost(thumbnails, BY_NAME["frame only, as prepared"].width)
    assert frame.shape == (1, 4096 - 3600)
    assert outermost(thumbnails, BY_NAME["centre masked"].width).shape == (1, 4096 - 2304)
    assert frame[0, :128].tolist() == pytest.approx((pixels[0, :2].ravel() / 255).tolist())


@pytest.mark.parametrize("name", ["frame only, as published", "frame only, as prepared", "centre masked"])
def test_the_edge_is_seen_and_the_middle_is_not(name: str) -> None:
    assert accuracy_of(name, in_frame=True) > 0.95
    assert 0.25 < accuracy_of(name, in_frame=False) < 0.75


@pytest.mark.parametrize("name", ["1-NN", "RBF-SVM"])
def test_whole_thumbnails_tell_either(name: str) -> None:
    assert accuracy_of(name, in_frame=True) > 0.95
    assert accuracy_of(name, in_frame=False) > 0.95


def test_permuted_labels_leave_chance() -> None:
    """The nearest neighbour of a training item is itself: its label comes back, but here it is another's."""
    train = drawn(80, 0, in_frame=True)
    permuted, kept = (
        replace(BY_NAME["random labels"], classify=nearest_neighbour, permuted_labels=permuted)
        for permuted in (True, False)
    )
    assert classification_control(kept, train, train, "val")[0].value == 1
    assert 0.3 < classification_control(permuted, train, train, "val")[0].value < 0.7


def test_features_that_are_all_alike_leave_the_commonest_label() -> None:
    blank = np.zeros((4, 9), np.float32)
    assert support_vectors(blank, np.array([0, 2, 2, 1]), blank).tolist() == [2, 2, 2, 2]


@pytest.fixture(scope="module")
def record(data: Path, workspace: Path) -> Controls:
    """What the command writes on the miniature data."""
    app = typer.Typer()
    app.command()(controls_command)
    arguments = ["--data", str(data), "--out", str(workspace / "controls"), "--split", "test"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert all(name in result.output for name in BY_NAME)
    return Controls.read(workspace / "controls")


def test_the_record_of_the_command(record: Controls) -> None:
    assert record.split == "test"
    assert {control.name for control in record.classification} == set(BY_NAME)
    # The data drawn here have four labels: there is no six-label set to fit.
    assert {len(control.labels) for control in record.classification} == {4}
    for control in record.classification:
        assert control.fitted_on == 24
        head = control.metrics[0]
        assert (head.name, head.split, head.count) == ("accuracy", "test", 12)
        assert head.interval is not None
        assert head.interval[0] <= head.value <= head.interval[1]
    accuracy = {control.name: control.metrics[0].value for control in record.classification}
    assert accuracy["1-NN"] > accuracy["random labels"]


def test_an_empty_answer_looks_good_by_the_wrong_figures(record: Controls) -> None:
    lgg, figshare = record.segmentation
    figures = {metric.name: metric.value for metric in lgg.metrics}
    assert figures["volumetric Dice a patient, mean (all empty)"] == 0
    assert figures["Dice on tumour slices (all empty)"] == figures["false-positive slices, share (all empty)"] == 0
    # Two of three slices of a patient have tumour: the third scores 1.
    assert figures["Dice of all slices, 1 where both are empty"] == pytest.approx(1 / 3)
    assert figures["pixel accuracy"] > 0.97
    assert figshare.method == "no tumour in any slice of Figshare"


def test_train_is_not_scored_on(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="val or test"):
        run_controls(data, tmp_path, "train")
