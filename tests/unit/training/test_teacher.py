"""Learning from a teacher: the loss, the teacher itself, and that both look at the same slice."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional

from core.contracts.manifest import MapGeometry
from core.contracts.tensors import TENSORS
from training.bundle.export import PARITY
from training.bundle.graphs import ClassifierGraph, FeatureSpace
from training.bundle.map_geometry import map_geometry
from training.bundle.onnx_files import (
    OnnxModel,
    export_graph,
    fold_normalisation,
    half_weights,
    largest_difference,
)
from training.classification.task import ClassifierTask
from training.config import TEACHER, ClassifierConfig, Phase, PretrainedName, SegmenterConfig
from training.loop.losses import distillation_loss, feature_loss, mask_loss
from training.loop.trainer import seed_everything
from training.networks.classifiers import Classifier, ClassifierOutput
from training.networks.lite import (
    DEVIATION,
    MEAN,
    PADDED_FOR,
    WEIGHTS,
    LiteClassifier,
    LiteUNet,
    encode,
)
from training.networks.together import InTurns
from training.segmentation.task import SegmenterTask


class Echo(nn.Module):
    """A teacher whose logits are the mean grey of what it saw, so that a test knows what that was."""

    def forward(self, images: Tensor) -> ClassifierOutput:
        mean = images.mean(dim=(1, 2, 3))
        return ClassifierOutput(torch.stack([mean] * 4, dim=1), None)


def test_the_loss_is_zero_where_both_agree_and_positive_elsewhere() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5, 0.0]])
    assert distillation_loss(logits, logits + 3.0, 2.0).item() == pytest.approx(0.0, abs=1e-6)
    assert distillation_loss(logits, -logits, 2.0).item() > 0.1


def test_the_loss_of_features_is_zero_where_the_first_channels_are_the_teachers() -> None:
    taught = torch.rand(3, 4, 6, 6)
    pooled = functional.avg_pool2d(taught, 2)
    student = torch.cat([pooled, torch.rand(3, 5, 3, 3)], dim=1)
    assert feature_loss(student, taught).item() == pytest.approx(0.0, abs=1e-6)
    assert feature_loss(torch.zeros_like(student), taught).item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="the teacher has 4 features, the student 3"):
        feature_loss(student[:, :3], taught)


@pytest.mark.usefixtures("in_workspace")
def test_features_are_learnt_from_a_teacher(data: Path) -> None:
    torch.manual_seed(0)
    config = ClassifierConfig(width=8, feature_weight=1.0, distillation=0.0)
    task = ClassifierTask(config, data, "cpu", LiteClassifier(6).eval())
    task.model = LiteClassifier(6).eval()
    images, *targets = task.batch(Phase(size=64, images=4, batch=4))
    alike = task.loss(task.model(images), tuple(targets))
    # The same network as its own student has nothing to learn of features; without them the loss is the same.
    without = task.loss(task.model(images), tuple(targets[:-1]))
    torch.testing.assert_close(alike, without)
    other = task.model(images.flip(3))
    assert task.loss(other, tuple(targets)) > task.loss(other, tuple(targets[:-1])) + 0.01


def test_the_loss_pulls_towards_the_teacher() -> None:
    student = torch.zeros(1, 4, requires_grad=True)
    distillation_loss(student, torch.tensor([[4.0, 0.0, 0.0, 0.0]]), 2.0).backward()
    assert student.grad is not None
    assert student.grad[0].argmin().item() == 0


def test_the_teacher_starts_from_trained_weights() -> None:
    first = LiteClassifier(4).network._conv_stem.weight
    torch.manual_seed(1)
    second = LiteClassifier(4).network._conv_stem.weight
    torch.testing.assert_close(first, second)
    assert LiteClassifier(4).eval()(torch.rand(2, 1, 64, 64)).logits.shape == (2, 4)


@pytest.mark.parametrize("name", get_args(PretrainedName))
def test_convolutions_pad_as_the_package_did(name: PretrainedName) -> None:
    torch.manual_seed(0)
    model = LiteClassifier(4, name).eval()
    padded = EfficientNet.from_pretrained(name, weights_path=WEIGHTS[name](), num_classes=4, image_size=PADDED_FOR)
    padded.load_state_dict(model.network.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images), padded.eval()(images))


@pytest.mark.parametrize("name", get_args(PretrainedName))
def test_the_teacher_can_be_exported_with_exact_maps(name: PretrainedName, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = LiteClassifier(6, name).eval()
    assert isinstance(LiteClassifier(4), Classifier)
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        maps = model.pyramid(images)
        assert [tuple(x.shape[1:]) for x in maps] == [
            (channels, 64 >> i, 64 >> i) for i, channels in enumerate(model.channels, start=1)
        ]
        # The package's own way through the network.
        torch.testing.assert_close(
            model(images).logits, model.network(((images - MEAN) / DEVIATION).expand(-1, 3, -1, -1))
        )
    graph = ClassifierGraph(half_weights(fold_normalisation(model)), 1.0, FeatureSpace.identity(6, model.channels[-1]))
    path = tmp_path / "model.onnx"
    export_graph(graph, images[:2], path, "image", TENSORS["classification"].outputs)
    assert largest_difference(graph, path, images.numpy()) <= PARITY
    given = OnnxModel(path).run(images.numpy())
    bias = graph.model.last.bias.detach().numpy()
    np.testing.assert_allclose(given["cam"].mean(axis=(2, 3)) + bias, given["logits"], atol=1e-4)
    maps_in_training = model(images).maps
    assert maps_in_training is not None
    np.testing.assert_allclose(maps_in_training.detach().numpy(), given["cam"], atol=1e-2)
    # Where the cells of a ResNet's maps lie, which the loss on the evidence counts on.
    assert map_geometry(path) == MapGeometry(first=0, step=32)


@pytest.mark.usefixtures("in_workspace")
def test_teacher_and_student_see_the_same_slices(data: Path) -> None:
    task = ClassifierTask(ClassifierConfig(width=8), data, "cpu", Echo())
    images, *_, taught = task.batch(Phase(size=32, images=8, batch=8))
    torch.testing.assert_close(taught[:, 0], images.mean(dim=(1, 2, 3)))


@pytest.mark.usefixtures("in_workspace")
def test_a_student_of_small_slices_may_be_taught_at_the_teachers_size(data: Path) -> None:
    seen: list[Tensor] = []

    class Looking(Echo):
        def forward(self, images: Tensor) -> ClassifierOutput:
            seen.append(images)
            return super().forward(images)

    config = ClassifierConfig(width=8, taught_size=96)
    images, _, masks, _, taught = ClassifierTask(config, data, "cpu", Looking()).batch(
        Phase(size=64, images=8, batch=8)
    )
    assert (images.shape[-1], masks.shape[-1], seen[0].shape[-1]) == (64, 4, 96)
    # The same slices: shrinking keeps the mean, which is all that this teacher goes by.
    torch.testing.assert_close(taught[:, 0], images.mean(dim=(1, 2, 3)), atol=0.01, rtol=0.0)
    smaller = functional.interpolate(seen[0], size=64, mode="area")
    assert np.corrcoef(images.flatten(), smaller.flatten())[0, 1] > 0.99
    # A larger phase is shown as it is.
    large, *_ = ClassifierTask(config, data, "cpu", Looking()).batch(Phase(size=128, images=8, batch=8))
    assert (large.shape[-1], seen[-1].shape[-1]) == (128, 128)


@pytest.mark.usefixtures("in_workspace")
def test_a_network_without_a_mask_head_learns_labels_alone(data: Path) -> None:
    task = ClassifierTask(TEACHER, data, "cpu")
    images, *targets = task.batch(Phase(size=32, images=8, batch=8))
    loss = task.loss(task.model(images), tuple(targets))
    loss.backward()
    assert torch.isfinite(loss)


def test_several_teachers_take_turns_and_each_gets_its_share() -> None:
    class Constant(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, images: Tensor) -> ClassifierOutput:
            return ClassifierOutput(torch.full((len(images), 4), self.value), None)

    seed_everything(7)
    teachers = InTurns([Constant(1.0), Constant(4.0)])
    answers = [teachers(torch.rand(2, 1, 32, 32)).logits for _ in range(400)]
    assert {float(answer.unique()) for answer in answers} == {1.0, 4.0}
    assert float(torch.stack(answers).mean()) == pytest.approx(2.5, abs=0.3)


@pytest.mark.parametrize("name", get_args(PretrainedName))
def test_the_segmenters_teacher_draws_on_the_pixels_of_its_input(name: PretrainedName) -> None:
    torch.manual_seed(0)
    network = LiteUNet(name).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 4, 64, 64)).shape == (2, 1, 64, 64)
    # A change in one corner moves that corner's logits most: the skip connections keep the place.
    images = torch.rand(1, 4, 64, 64)
    changed = images.clone()
    changed[:, :, :8, :8] = 1 - changed[:, :, :8, :8]
    with torch.no_grad():
        moved = (network(changed) - network(images)).abs()[0, 0]
    assert moved[:8, :8].mean() > 2 * moved[32:, 32:].mean()


@pytest.mark.usefixtures("in_workspace")
def test_the_segmenters_loss_follows_outline_and_teacher(data: Path) -> None:
    class Nothing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full_like(images[:, :1], -20.0)

    task = SegmenterTask(SegmenterConfig(width=4), data, "cpu", Nothing())
    images, mask, taught = task.batch(Phase(size=32, images=4, batch=4))
    assert taught.max() < 1e-6
    logits = torch.full_like(mask, -8.0)
    share = task.config.distillation
    expected = (1 - share) * mask_loss(logits, mask) + share * mask_loss(logits, taught)
    torch.testing.assert_close(task.loss(logits, (mask, taught)), expected)
    assert images.shape == (4, 4, 32, 32)


def test_an_encoder_goes_on_from_what_it_learnt_of_labels() -> None:
    classifier, network = LiteClassifier(4).eval(), LiteUNet("efficientnet-lite0").eval()
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.mul_(1.1)
    network.take_encoder(classifier.state_dict())
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        deepest = encode(network.encoder, ((grey - MEAN) / DEVIATION).expand(-1, 4, -1, -1))[-1]
        expected = encode(classifier.network, ((grey - MEAN) / DEVIATION).expand(-1, 3, -1, -1))[-1]
    # A slice in all four channels is what a grey picture in three colours was.
    torch.testing.assert_close(deepest, expected, atol=1e-4, rtol=1e-4)
