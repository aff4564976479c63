"""Networks of volumes: what each is before training, what several answers teach, and what a start leaves new."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from core.contracts.tensors import TENSORS
from core.runtime.session import OrtSession
from training.bundle.graphs import ColumnGraph, SegmenterGraph
from training.bundle.onnx_files import export_graph, fold_normalisation, half_weights
from training.loop.losses import partial_mask_loss
from training.networks.slices_in_volume import SlicesInVolume, SlicesInVolumeHeads, as_slices, as_volumes
from training.networks.starts import restore
from training.networks.volumetric import ResidualUNet3d, SlicesOfThreePlanes
from training.volumes.task import VolumeSegmenterTask


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same weights and volumes, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@torch.no_grad()
def test_a_deeply_supervised_network_gives_its_own_answer_first() -> None:
    network = ResidualUNet3d(4, 3, 4)
    volumes = torch.rand(1, 4, 32, 32, 32)
    answers = network.train()(volumes)
    assert answers.shape == (1, 3, 3, 32, 32, 32)
    torch.testing.assert_close(answers[:, 0], network.eval()(volumes), atol=1e-5, rtol=0)
    # The two others are coarser: 2 and 4 voxels a side are alike.
    for level, side in ((1, 2), (2, 4)):
        blocks = answers[0, level].unfold(1, side, side).unfold(2, side, side).unfold(3, side, side)
        assert float(blocks.flatten(4).std(dim=-1).max()) < 1e-5
    assert 0.005 < float(torch.sigmoid(answers[:, 0]).mean()) < 0.1


def test_coarser_answers_teach_half_as_much_each() -> None:
    answers = torch.randn(2, 3, 3, 8, 8, 8)
    regions, known = (torch.rand(2, 3, 8, 8, 8) > 0.5).float(), torch.ones(2, 3)
    losses = [partial_mask_loss(answers[:, level], regions, known) for level in range(3)]
    found = VolumeSegmenterTask.loss(None, answers, (regions, known))  # type: ignore[arg-type]
    torch.testing.assert_close(found, (4 * losses[0] + 2 * losses[1] + losses[2]) / 7)
    plain = VolumeSegmenterTask.loss(None, answers[:, 0], (regions, known))  # type: ignore[arg-type]
    torch.testing.assert_close(plain, losses[0])


def test_a_weak_label_teaches_in_its_share() -> None:
    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    target = (torch.rand(1, 3, 4, 4, 4) > 0.5).float()
    gradients = []
    for weight in (1.0, 0.25):
        logits.grad = None
        partial_mask_loss(logits, target, torch.tensor([[1.0, 1.0, weight]])).backward()
        assert logits.grad is not None
        gradients.append(logits.grad.abs().sum(dim=(0, 2, 3, 4)))
    assert float(gradients[1][2]) < 0.5 * float(gradients[0][2])
    assert float(gradients[1][0]) > 0.9 * float(gradients[0][0])


def test_a_weak_label_teaches_towards_itself_beside_a_sure_one() -> None:
    target = torch.zeros(2, 1, 8, 8, 8)
    target[:, :, 2:6, 2:6, 2:6] = 1
    known = torch.tensor([[1.0], [0.25]])
    losses = []
    # The sure case is answered rightly; the weak one from "nothing" to rightly.
    for share in (0.0, 0.5, 1.0):
        answer = 0.001 + 0.998 * target
        answer[1] = 0.001 + 0.998 * share * target[1]
        losses.append(float(partial_mask_loss(torch.logit(answer), target, known)))
    assert losses[0] > losses[1] > losses[2]
    # The part of Dice alone: 64 sure voxels and a fourth of 64 weak ones.
    empty = torch.logit(torch.stack([0.001 + 0.998 * target[0], torch.full_like(target[1], 1e-6)]))
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(empty, target, reduction="none")
    dice_part = partial_mask_loss(empty, target, known) - (entropy * known.view(2, 1, 1, 1, 1)).mean() * 2 / 1.25
    assert float(dice_part) == pytest.approx(1 - (2 * 64 + 1) / (64 + 64 + 16 + 1), abs=0.01)


class Planes(SlicesOfThreePlanes):
    """Answers with its input and what is upright in its slices."""

    def __init__(self) -> None:
        super().__init__(4, 3, 2)
        self.seen: list[Tensor] = []
        self.slices.features = self._look  # type: ignore[method-assign]
        self.slices.head = nn.Identity()
        self.inner = _Nothing()

    def _look(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return images


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :0]


def test_slices_of_every_plane_come_back_to_their_places() -> None:
    volumes = torch.rand(2, 4, 16, 20, 24)
    network = Planes().eval()
    torch.testing.assert_close(network(volumes), volumes)
    sagittal, coronal, axial = network.seen
    assert [tuple(seen.shape[2:]) for seen in (sagittal, coronal, axial)] == [(24, 20), (24, 16), (20, 16)]
    # Axial ones are those that a network of slices was trained on, the last slice first.
    torch.testing.assert_close(axial[:24].flip(0), as_slices(volumes)[:24])
    # The top of the head is the first row of the others.
    top = volumes[0, :, :, :, -1]
    torch.testing.assert_close(coronal[0, :, 0], top[:, :, -1].flip(1))
    network.train()
    network.seen.clear()
    torch.testing.assert_close(network(volumes), volumes)
    assert len(network.seen) == 1


@pytest.mark.timeout(300)
def test_heads_of_their_own_begin_anew_from_a_shipped_network(tmp_path: Path) -> None:
    """Everything else is taken over from a graph of columns, and the graph of the result is the network."""
    shipped = SlicesInVolume(4, 3, 2).eval()
    with torch.no_grad():
        # As after training: no two layers alike, which the exporter would store once.
        for parameter in shipped.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    graph = ColumnGraph(half_weights(fold_normalisation(shipped)), (32, 32, 16)).eval()
    halves = torch.export.Dim("halves", min=2, max=64)
    free = {4: 8 * halves}
    path = tmp_path / "model.onnx"
    export_graph(graph, torch.zeros(1, 4, 32, 32, 24), path, *TENSORS["volume-segmentation"], free)
    network = SlicesInVolumeHeads(4, 3, 2).eval()
    fresh = {name: value.clone() for name, value in network.inner.state_dict().items()}
    volumes = torch.rand(1, 4, 32, 32, 16)
    restore(network, path, [volumes])
    assert all(torch.equal(value, fresh[name]) for name, value in network.inner.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(network(volumes)[:, :1], shipped(volumes)[:, :1], atol=0.02, rtol=0.01)
        inner = network(volumes)[:, 1:] - network.context(_coarse(network, volumes))[:, 1:]
        images = as_slices(volumes)
        expected = as_volumes(network.inner(network.slices.features(images), images), 1)
    torch.testing.assert_close(inner, expected, atol=1e-4, rtol=1e-4)
    again = tmp_path / "again.onnx"
    column = ColumnGraph(half_weights(fold_normalisation(network)), (32, 32, 16)).eval()
    export_graph(column, torch.zeros(1, 4, 32, 32, 24), again, *TENSORS["volume-segmentation"], free)
    windows = torch.cat([volumes, torch.rand(1, 4, 32, 32, 8)], dim=4)
    answer = OrtSession(again, force_cpu=True).run({"volumes": windows.numpy()})["probability"]
    with torch.no_grad():
        first = SegmenterGraph(half_weights(fold_normalisation(network)))(windows[..., :16])
    torch.testing.assert_close(torch.from_numpy(answer[:1]), first, atol=1e-4, rtol=0)


def _coarse(network: SlicesInVolume, volumes: Tensor) -> Tensor:
    """What the 3D part reads."""
    features = network.slices.features(as_slices(volumes))
    found = torch.cat([features, torch.sigmoid(network.slices.head(features))], dim=1)
    pooled = nn.functional.avg_pool2d(found, 2)
    return torch.cat([as_volumes(pooled, 1), nn.functional.avg_pool3d(volumes, (2, 2, 1))], dim=1)


def test_air_is_normalised_to_nothing_in_graphs(tmp_path: Path) -> None:
    """Where the operators of ONNX Runtime are far from 0; elsewhere the norm is torch's."""
    norm = nn.InstanceNorm3d(2, affine=True)
    nn.init.uniform_(norm.weight)
    network = nn.Sequential(nn.Conv3d(4, 2, 1), norm).eval()
    path = tmp_path / "model.onnx"
    graph = SegmenterGraph(network)
    export_graph(graph, torch.zeros(2, 4, 64, 64, 64), path, *TENSORS["volume-segmentation"])
    session = OrtSession(path, force_cpu=True)
    assert not any(node.op_type.endswith("Normalization") for node in onnx.load(path).graph.node)
    air = torch.full((1, 4, 64, 64, 64), 17.3)
    for windows, expected in ((air, torch.full((1, 2, 64, 64, 64), 0.5)), (torch.rand(1, 4, 64, 64, 64), None)):
        answer = torch.from_numpy(session.run({"volumes": windows.numpy()})["probability"])
        with torch.no_grad():
            right = torch.sigmoid(network(windows)) if expected is None else expected
        torch.testing.assert_close(answer, right, atol=0.01, rtol=0)
