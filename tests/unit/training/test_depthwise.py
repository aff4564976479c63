"""Depthwise convolutions step out of bfloat16, and everything else stays in it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.bright_half import SCHEDULE, BrightHalf
from training.config import ScheduleConfig
from training.loop.trainer import Trainer
from training.networks.depthwise import depthwise_in_float32


class Seen(nn.Module):
    """Passes on what it is given and notes of which type that was."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[object] = []

    def forward(self, values: Tensor) -> Tensor:
        self.kinds.append(values.dtype)
        return values


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), Seen(), nn.Conv2d(8, 2, 1), Seen())


def test_the_depthwise_part_is_computed_in_float32() -> None:
    plain, images = network(), torch.rand(2, 4, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        before = plain[0](images)
    exact = plain[1](before.float())
    depthwise_in_float32(plain)
    with torch.autocast("cpu", torch.bfloat16):
        found = plain[1](before)
        assert torch.is_autocast_enabled("cpu")
        plain(images)
    # Only the answer is rounded; what is computed in bfloat16 throughout differs in more than its last digit.
    assert torch.equal(found, exact.bfloat16())
    assert plain[2].kinds == plain[4].kinds == [torch.bfloat16]


def test_without_autocast_nothing_changes() -> None:
    plain, images = network(), torch.rand(2, 4, 9, 9)
    expected = plain(images)
    depthwise_in_float32(plain)
    assert torch.equal(plain(images), expected)
    assert not torch.is_autocast_enabled("cpu")


def test_a_copy_computes_with_its_own_weights() -> None:
    original, images = network(), torch.rand(2, 4, 9, 9)
    depthwise_in_float32(original)
    other = copy.deepcopy(original)
    with torch.no_grad():
        other[1].weight.zero_()
        other[1].bias.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        assert not other[1](images.repeat(1, 2, 1, 1)).any()
        assert original[1](images.repeat(1, 2, 1, 1)).any()


def test_gradients_reach_the_weights() -> None:
    model = network()
    depthwise_in_float32(model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.rand(2, 4, 9, 9)).float().square().mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.any(), name


class Depthwise(BrightHalf):
    """The same task with a depthwise convolution in the network."""

    def __init__(self) -> None:
        super().__init__()
        body = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.AdaptiveAvgPool2d(2))
        self.model = nn.Sequential(body, nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_loop_arranges_it(bfloat16: bool, tmp_path: Path) -> None:
    schedule = ScheduleConfig(phases=SCHEDULE.phases, epoch_images=64, bfloat16=bfloat16)
    trainer = Trainer(Depthwise(), schedule, tmp_path, "cpu", {})
    depthwise = trainer.model[0][1]
    assert bool(depthwise._forward_hooks) == bfloat16
    assert not trainer.model[0][0]._forward_hooks
    assert torch.isfinite(trainer.step(SCHEDULE.phases[0]))
