"""The exported graph: exact where it must be, small, and silent about where it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import nn

from core.contracts.tensors import TENSORS
from training.bundle.graphs import WHITENED_DIMENSIONS, ClassifierGraph, FeatureSpace, SegmenterGraph
from training.bundle.onnx_files import (
    OnnxModel,
    export_graph,
    fold_normalisation,
    half_weights,
    largest_difference,
    store_bytes,
)
from training.networks.classifiers import ResNetClassifier
from training.networks.unet import UNet

# Channels that a ResNet50 pools.
FEATURES = 2048
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
TEMPERATURE = 1.7


def shaken(model: nn.Module) -> nn.Module:
    """A network whose every weight and running statistic differs from its start value."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.0)
                module.bias.normal_(0, 0.1)
    return model.eval()


def noise(*shape: int) -> npt.NDArray[np.float32]:
    """Inputs in [0, 1]."""
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClassifierGraph, Path]:
    """The graph in torch and as a file."""
    half = half_weights(fold_normalisation(shaken(ResNetClassifier(4))))
    features = noise(200, FEATURES)
    space = FeatureSpace.fit(features, np.arange(200) % 4, 4)
    graph = ClassifierGraph(half, TEMPERATURE, space)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_graph(graph, torch.from_numpy(noise(2, 1, 64, 64)), path, "image", TENSORS["classification"].outputs)
    return graph, path


def test_folding_normalisation_changes_nothing() -> None:
    model = shaken(UNet(width=4))
    images = torch.from_numpy(noise(2, 4, 64, 64))
    folded = fold_normalisation(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(images), model(images), atol=1e-4, rtol=1e-4)


def test_the_classifier_agrees_with_torch_at_any_batch_size(classifier: tuple[ClassifierGraph, Path]) -> None:
    graph, path = classifier
    for count in (1, 3):
        assert largest_difference(graph, path, noise(count, 1, 64, 64)) <= 1e-4


def test_activation_maps_explain_the_logits_exactly(classifier: tuple[ClassifierGraph, Path]) -> None:
    graph, path = classifier
    outputs = OnnxModel(path).run(noise(3, 1, 64, 64))
    bias = graph.model.last.bias.detach().numpy()
    raw = outputs["logits"] * TEMPERATURE
    np.testing.assert_allclose(outputs["cam"].mean(axis=(2, 3)) + bias, raw, atol=1e-4)
    np.testing.assert_allclose(outputs["energy"], -np.log(np.exp(raw).sum(axis=1)), atol=1e-4)
    shapes = {name: value.shape for name, value in outputs.items()}
    assert shapes == {
        "logits": (3, 4),
        "cam": (3, 4, 2, 2),
        "energy": (3,),
        "features": (3, FEATURES),
        "distance": (3,),
    }


def test_weights_are_stored_as_fp16_without_loss(classifier: tuple[ClassifierGraph, Path]) -> None:
    _, path = classifier
    parameters = sum(p.numel() for p in ResNetClassifier(4).parameters())
    assert path.stat().st_size < 2.2 * parameters
    types = {tensor.data_type for tensor in onnx.load(path).graph.initializer if len(tensor.dims) == 4}
    assert types == {onnx.TensorProto.FLOAT16}


def test_the_file_tells_nothing_of_the_machine(classifier: tuple[ClassifierGraph, Path]) -> None:
    content = classifier[1].read_bytes()
    assert str(Path.cwd()).encode() not in content
    assert b"site-packages" not in content
    assert b".py" not in content


def test_the_segmenter_agrees_with_torch(tmp_path: Path) -> None:
    graph = SegmenterGraph(half_weights(fold_normalisation(shaken(UNet(width=4)))))
    path = tmp_path / "model.onnx"
    export_graph(graph, torch.from_numpy(noise(2, 4, 64, 64)), path, "images", TENSORS["segmentation"].outputs)
    images = noise(3, 4, 64, 64)
    assert largest_difference(graph, path, images) <= 1e-4
    probability = OnnxModel(path).run_all(images, batch=2)["probability"]
    assert probability.shape == (3, 1, 64, 64)
    assert 0 <= probability.min() <= probability.max() <= 1


def test_distance_is_that_to_the_nearest_class_in_whitened_space() -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 5, (4, FEATURES)).astype(np.float32)
    labels = np.arange(800) % 4
    features = (centres[labels] + generator.normal(size=(800, FEATURES))).astype(np.float32)
    space = FeatureSpace.fit(features, labels, 4)
    whitened = (features - space.mean) @ (space.basis * space.scale)
    residuals = whitened - space.centroids[labels]
    assert space.basis.shape == (FEATURES, WHITENED_DIMENSIONS)
    np.testing.assert_allclose(np.cov(residuals.T), np.eye(WHITENED_DIMENSIONS), atol=0.05)
    nearest = np.linalg.norm(whitened[:, None] - space.centroids[None], axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, labels)


def test_weights_stored_as_bytes_compute_nearly_the_same(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(2, 16, 16, 3, 3)).astype(np.float32)
    weights[0, 3] = 0  # a channel that is off has no scale
    initial = [onnx.numpy_helper.from_array(value, name) for name, value in zip("ab", weights, strict=True)]
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 16, 8, 8]) for name in "xz"]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "a"], ["y"], "first", pads=[1] * 4),
        onnx.helper.make_node("Conv", ["y", "b"], ["z"], "second", pads=[1] * 4),
    ]
    graph = onnx.helper.make_graph(nodes, "two", value[:1], value[1:], initial)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "float.onnx")
    store_bytes(model.graph, {"first"})
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "bytes.onnx")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["a_int8"] == onnx.TensorProto.INT8
    assert kinds["b"] == onnx.TensorProto.FLOAT
    images = noise(2, 16, 8, 8)
    exact, near = (OnnxModel(tmp_path / f"{name}.onnx").run(images)["z"] for name in ("float", "bytes"))
    assert 0 < np.abs(exact - near).max() < 0.01 * np.abs(exact).max()
