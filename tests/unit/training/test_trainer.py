"""The loop learns, and an interrupted run ends where an uninterrupted one does."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tests.support.bright_half import SCHEDULE, BrightHalf
from training.loop.trainer import CHECKPOINT, AveragedModel, Trainer, parameter_groups


def finish(task: BrightHalf, folder: Path) -> Trainer:
    """Run a schedule to its end."""
    trainer = Trainer(task, SCHEDULE, folder, "cpu", {})
    trainer.run(lambda state, progress, figures: None)
    return trainer


def test_it_learns_through_its_phases(tmp_path: Path) -> None:
    task = BrightHalf()
    trainer = finish(task, tmp_path)
    assert trainer.state.history[-1]["accuracy"] > 0.95
    assert trainer.state.history[-1]["loss"] < trainer.state.history[0]["loss"]
    assert task.sizes == [8] * 16 + [16] * 8
    assert trainer.state.images_seen == 384


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = finish(BrightHalf(), tmp_path / "whole")
    interrupted = Trainer(BrightHalf(), SCHEDULE, tmp_path / "cut", "cpu", {})
    interrupted.state.history.append(interrupted.epoch())
    interrupted.save()
    interrupted.epoch()  # lost: not saved before the stop
    resumed = finish(BrightHalf(), tmp_path / "cut")
    assert resumed.state.images_seen == whole.state.images_seen
    assert len(resumed.state.history) == len(whole.state.history)
    for name, value in whole.average.values.items():
        torch.testing.assert_close(resumed.average.values[name], value, msg=name)


def test_a_new_run_can_begin_from_an_earlier_one(tmp_path: Path) -> None:
    earlier = finish(BrightHalf(), tmp_path / "first")
    second = Trainer(BrightHalf(), SCHEDULE, tmp_path / "second", "cpu", {}, tmp_path / "first")
    assert second.state.images_seen == 0
    for name, value in earlier.average.values.items():
        torch.testing.assert_close(second.model.state_dict()[name], value, msg=name)


def test_the_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    trainer = Trainer(BrightHalf(), SCHEDULE, tmp_path, "cpu", {"kind": "toy"})
    trainer.save()
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert torch.load(tmp_path / CHECKPOINT, weights_only=False)["about"] == {"kind": "toy"}


def test_averaged_weights_follow_the_model() -> None:
    model = nn.Linear(2, 1)
    average = AveragedModel(model, decay=0.5)
    start = average.values["weight"].clone()
    with torch.no_grad():
        model.weight += 1.0
    average.update(model, step=100)
    torch.testing.assert_close(average.values["weight"], start + 0.5)
    average.update(model, step=100)
    torch.testing.assert_close(average.values["weight"], start + 0.75)


def test_biases_and_normalisation_do_not_decay() -> None:
    decayed, plain = parameter_groups(BrightHalf().model, 0.1)
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert {p.ndim for p in plain["params"]} == {1}
    assert plain["weight_decay"] == 0
