"""A network taken out of an exported graph computes what the graph does, and can be trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.bundle.graphs import SegmenterGraph
from training.bundle.onnx_files import OnnxModel, export_graph, fold_normalisation, half_weights
from training.networks.classifiers import ResNetClassifier
from training.networks.starts import restore
from training.networks.unet import UNet


def used(model: nn.Module, images: Tensor) -> nn.Module:
    """The model after a few batches: its normalisation no longer stands at its initial values."""
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    model.train()
    for _ in range(3):
        model(images)
    return model.eval()


@pytest.fixture(name="images")
def images_fixture() -> Tensor:
    torch.manual_seed(5)
    return torch.rand(4, 4, 32, 32)


@pytest.fixture(name="graph")
def graph_fixture(tmp_path: Path, images: Tensor) -> Path:
    model = used(UNet(width=4), images)
    path = tmp_path / "model.onnx"
    export_graph(SegmenterGraph(half_weights(fold_normalisation(model))), images, path, "images", ("probability",))
    return path


def test_restored_network_answers_like_the_graph(graph: Path, images: Tensor) -> None:
    model = UNet(width=4)
    restore(model, graph, [images])
    with torch.no_grad():
        ours = torch.sigmoid(model.eval()(images)).numpy()
    theirs = OnnxModel(graph).run(images.numpy())["probability"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_restored_normalisation_holds_the_measured_moments(graph: Path, images: Tensor) -> None:
    model = UNet(width=4)
    restore(model, graph, [images])
    with torch.no_grad():
        in_use = torch.sigmoid(model.eval()(images))
        in_training = torch.sigmoid(model.train()(images))
    # On the batch that was measured, training mode (its own moments) and evaluation mode (the stored ones) agree.
    torch.testing.assert_close(in_training, in_use, atol=1e-3, rtol=1e-3)


def test_another_shape_is_refused(graph: Path, images: Tensor) -> None:
    with pytest.raises(ValueError, match="the bundle has"):
        restore(UNet(width=3), graph, [images])


def test_new_classes_keep_their_own_rows(tmp_path: Path) -> None:
    images = torch.rand(4, 1, 32, 32)

    class Logits(nn.Module):
        def __init__(self, model: ResNetClassifier) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor) -> Tensor:
            return self.model(image).logits

    four = used(ResNetClassifier(4, width=4), images)
    path = tmp_path / "model.onnx"
    export_graph(Logits(fold_normalisation(four)), images, path, "image", ("logits",))
    six = ResNetClassifier(6, width=4)
    own = six.backbone.fc.weight[4:].detach().clone()
    restore(six, path, [images])
    assert torch.equal(six.backbone.fc.weight[4:], own)
    with torch.no_grad():
        torch.testing.assert_close(six.eval()(images).logits[:, :4], four(images).logits, atol=2e-2, rtol=2e-2)
