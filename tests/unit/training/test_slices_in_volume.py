"""Slices first, then the volume: what the network is before any training, and what training leaves alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.contracts.tensors import TENSORS
from core.runtime.session import OrtSession
from tests.support.runs import write_run
from training.bundle.graphs import ColumnGraph, SegmenterGraph
from training.bundle.onnx_files import export_graph, fold_normalisation, half_weights
from training.config import Phase, ScheduleConfig, SegmenterConfig
from training.loop.checkpoints import load_trained
from training.loop.trainer import Trainer
from training.networks.slices_in_volume import (
    SlicesInColumn,
    SlicesInVolume,
    StackedNorm,
    as_slices,
    as_volumes,
    unstacked,
)
from training.networks.starts import restore
from training.networks.unet import UNet


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same weights and volumes, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


def lively(model: nn.Module) -> nn.Module:
    """Normalisation as after training, so that leaving it out would show."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.2)
    return model.eval()


def by_slice(network: nn.Module, volumes: Tensor) -> Tensor:
    """(N, 1, I, J, K): a slice network's logits, slice by slice, written out plainly."""
    answer = torch.zeros(len(volumes), 1, *volumes.shape[2:])
    for k in range(volumes.shape[-1]):
        # Rows from the face to the back, columns from the patient's right to the left.
        images = volumes[..., k].transpose(2, 3).flip((2, 3))
        answer[..., k] = network(images).flip((2, 3)).transpose(2, 3)
    return answer


def test_slices_are_shown_as_people_see_them_and_come_back() -> None:
    volumes = torch.rand(2, 4, 6, 8, 5)
    slices = as_slices(volumes)
    assert slices.shape == (10, 4, 8, 6)
    # The uppermost left place of the picture is the patient's right, in front.
    assert torch.equal(slices[3, :, 0, 0], volumes[0, :, -1, -1, 3])
    assert torch.equal(as_volumes(slices, 2), volumes)


@torch.no_grad()
def test_before_training_the_first_region_is_what_the_slices_say() -> None:
    model = lively(SlicesInVolume(4, 3, 2))
    volumes = torch.rand(2, 4, 32, 16, 8)
    torch.testing.assert_close(model(volumes)[:, :1], by_slice(model.slices, volumes), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_shipped_slice_network_is_taken_over_exactly(tmp_path: Path) -> None:
    slices = lively(UNet(4, 2))
    shipped = half_weights(fold_normalisation(slices))
    images = torch.rand(2, 4, 32, 32)
    export_graph(SegmenterGraph(shipped), images, tmp_path / "model.onnx", "images", TENSORS["segmentation"].outputs)
    model = SlicesInVolume(4, 3, 2)
    volumes = torch.rand(1, 4, 32, 48, 8)
    restore(model, tmp_path / "model.onnx", [torch.rand(2, 4, 32, 48, 8)])
    torch.testing.assert_close(model.eval()(volumes)[:, :1], by_slice(shipped, volumes), atol=1e-4, rtol=0)


def test_training_moves_every_weight_but_not_the_normalisation_of_slices() -> None:
    model = lively(SlicesInVolume(4, 3, 8)).train()
    # Its last layer is zero at first and holds back the gradient of all before it.
    nn.init.normal_(model.context.head.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.rand(2, 4, 32, 32, 8)).square().mean().backward()
    after = model.state_dict()
    moving = [name for name in before if "running" in name]
    assert moving
    assert all(torch.equal(before[name], after[name]) for name in moving)
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@torch.no_grad()
def test_neighbouring_slices_count_once_the_context_has_learnt() -> None:
    model = lively(SlicesInVolume(4, 3, 2))
    nn.init.normal_(model.context.head.weight)
    volumes = torch.rand(1, 4, 32, 32, 16)
    other = volumes.clone()
    other[..., 9] = 0
    assert not torch.allclose(model(volumes)[..., 8], model(other)[..., 8], atol=1e-4)


def learnt() -> SlicesInVolume:
    """A folded network in which every part says something, with normalisation that has weights of its own."""
    model = SlicesInVolume(4, 3, 2)
    lively(model)
    for name, parameter in model.context.named_parameters():
        if parameter.ndim == 1 or name.startswith("head"):
            nn.init.normal_(parameter)
    folded: SlicesInVolume = fold_normalisation(model)  # type: ignore[assignment]
    return folded


@torch.no_grad()
def test_a_column_is_answered_window_by_window() -> None:
    network = learnt()
    plain, column = SegmenterGraph(network).eval(), ColumnGraph(network, (32, 48, 8)).eval()
    volumes = torch.rand(1, 4, 32, 48, 20)
    windows = torch.cat([volumes[..., start : start + 8] for start in (0, 4, 8, 12)])
    answer = column(volumes)
    assert answer.shape == (4, 3, 32, 48, 8)
    assert float(answer.std()) > 0.1
    torch.testing.assert_close(answer, plain(windows), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_column_shown_without_its_air_is_answered_nearly_alike() -> None:
    """But for rounding where all is air, and otherwise but for what the rim of the head says of the air beside it."""
    network = learnt()
    column = ColumnGraph(network, (48, 80, 8)).eval()
    empty = torch.zeros(1, 4, 48, 80, 12)
    torch.testing.assert_close(column(empty[:, :, 16:32, 16:64]), column(empty), atol=2e-3, rtol=0)
    head = empty.clone()
    head[:, :, 20:28, 24:56] = torch.rand(1, 4, 8, 32, 12)
    shown, whole = column(head[:, :, 16:32, 16:64]), column(head)
    assert shown.shape == whole.shape == (2, 3, 48, 80, 8)
    assert float((shown - whole).abs().mean()) < 0.05 * float(whole.std())


@torch.no_grad()
def test_weights_come_back_to_where_they_were() -> None:
    network = learnt()
    weights = dict(SlicesInColumn(network, (32, 48), 8).named_parameters())
    like = fold_normalisation(lively(SlicesInVolume(4, 3, 2)))
    assert isinstance(like, SlicesInVolume)
    found = unstacked(weights, like)
    expected = dict(network.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_of_slices_is_a_start_for_volumes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "slices", "segmenter", SegmenterConfig(width=4))
    network = SlicesInVolume(width=4)
    task: Any = SimpleNamespace(model=network)
    trained = load_trained(run).model.state_dict()
    assert not torch.equal(network.slices.head.weight, trained["head.weight"])
    Trainer(task, ScheduleConfig(phases=(Phase(16, 2, 2),)), tmp_path / "volumes", "cpu", {}, run)
    assert all(torch.equal(value, trained[name]) for name, value in network.slices.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (1000.0, 1.0), (10_000.0, 10.0), (7.0, 0.0)])
def test_normalisation_holds_where_the_mean_is_large(tmp_path: Path, mean: float, spread: float) -> None:
    """Also as exported, and for a constant channel; against float64."""
    source = nn.InstanceNorm3d(2, affine=True)
    nn.init.uniform_(source.weight, 0.5, 1.5)
    nn.init.uniform_(source.bias, -1, 1)
    norm = StackedNorm(source)
    x = mean + spread * torch.randn(1, 8, 2, 48, 48)
    exact = x.double()
    centred = exact - exact.mean(dim=(1, 3, 4), keepdim=True)
    expected = centred / (centred.square().mean(dim=(1, 3, 4), keepdim=True) + norm.eps).sqrt()
    expected = (expected * norm.weight + norm.bias).float()
    torch.testing.assert_close(norm(x), expected, atol=0.01, rtol=0)
    export_graph(norm, torch.rand(2, 8, 2, 48, 48), tmp_path / "norm.onnx", "x", ("y",))
    found = OrtSession(tmp_path / "norm.onnx").run({"x": x.numpy()})["y"]
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=0.01, rtol=0)
