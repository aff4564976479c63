"""Every network: its published size, its shapes, that all of it learns, and that its graph file agrees with torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional

from core.contracts.tensors import PROBABILITY, TENSORS
from training.bundle.graphs import ClassifierGraph, FeatureSpace, SegmenterGraph
from training.bundle.onnx_files import (
    OnnxModel,
    export_graph,
    fold_normalisation,
    half_weights,
    largest_difference,
)
from training.config import ClassifierName, PretrainedName, PretrainedSegmenterName, SegmenterName
from training.networks.classifiers import Classifier
from training.networks.registry import (
    CLASSIFIERS,
    SEGMENTERS,
    TITLES,
    VOLUME_SEGMENTERS,
    build_classifier,
    title,
)
from training.networks.unet import AttentionGate, UNet
from training.paper.segmenters import FCN8s, PSPNet, bilinear_upsampling, pooling_matrix

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

CLASSES = 6
TEMPERATURE = 1.7
PARITY = 1e-4
NORMALISATIONS = (nn.BatchNorm2d, nn.InstanceNorm3d)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are tiny: further threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def count(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters())


def noise(*shape: int) -> npt.NDArray[np.float32]:
    """Inputs in [0, 1]."""
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def patches(rows: int, channels: int, *sides: int) -> npt.NDArray[np.float32]:
    """Images or volumes in [0, 1] of even patches, 16 a side: pixel noise would average out in the deeper layers."""
    coarse = noise(rows, channels, *(side // 16 for side in sides))
    for axis in range(2, coarse.ndim):
        coarse = np.repeat(coarse, 16, axis=axis)
    return coarse


def shaken(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The network with nothing at its initial value, and with running statistics that keep signals up."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, NORMALISATIONS):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
        model.train()(torch.from_numpy(patches(16, *shape)))
    return model.eval()


# Weights before the last layer as published for three colours; one grey channel has a third of the first convolution.
# ResNet50V2: Keras has 19,008 more in biases that normalisation cancels. VGG16: weights of its convolutions alone, and
# scale and shift of 4,224 normalised channels.
PUBLISHED = {
    "resnet50": (23_508_032, 64 * 49),
    "resnet50v2": (23_519_360 - 19_008, 64 * 49),
    "densenet121": (6_953_856, 64 * 49),
    "efficientnet-b0": (4_007_548, 32 * 9),
    "inception-v3": (21_785_568, 32 * 9),
    "vgg16": (14_710_464 + 2 * 4_224, 64 * 9),
}


def test_the_registry_is_what_the_command_line_offers() -> None:
    assert set(CLASSIFIERS) == set(get_args(ClassifierName)) == set(PUBLISHED)
    assert set(SEGMENTERS) == set(get_args(SegmenterName))
    # Teachers have a command of their own, and ship.
    pretrained = {*get_args(PretrainedName), *get_args(PretrainedSegmenterName)}
    assert set(TITLES) == {*CLASSIFIERS, *SEGMENTERS, *VOLUME_SEGMENTERS, *pretrained}


def test_networks_side_by_side_are_named_one_after_another() -> None:
    assert title("resnet50") == "ResNet50"
    assert title("resnet50+vgg16") == "ResNet50 and VGG16"
    assert title("resnet50+vgg16+efficientnet-lite2") == "ResNet50, VGG16 and EfficientNet-Lite2"
    assert title("resnet50+vgg16+vgg16") == "ResNet50 and 2 x VGG16"


@pytest.mark.parametrize("name", PUBLISHED)
def test_classifiers_have_their_published_size(name: str) -> None:
    published, first = PUBLISHED[name]
    with torch.device("meta"):
        model = build_classifier(name, CLASSES, 64)
        heads = count(model.last) + count(model.mask_head)
        assert count(model) - heads == published - 2 * first


def test_segmenters_have_their_published_size() -> None:
    with torch.device("meta"):
        # 7,759,521 for biased convolutions (the usual count); without them 2,944 fewer, but scale and shift twice.
        assert count(UNet(1, 32)) == pytest.approx(7.76e6, rel=1e-3)
        # VGG16, the 7x7 and the 1x1 layer with 4,096 channels, and scores for one class.
        vgg = PUBLISHED["vgg16"][0]
        wide = 4096 * (512 * 49 + 1) + 4096 * (4096 + 1)
        assert count(FCN8s(3, 64)) == vgg + wide + (4096 + 512 + 256 + 3) + 2 * 16 + 256
        # ResNet50, four 1x1 convolutions to 512 channels, one 3x3 over 4,096, and scores for one class.
        context = 4 * (2048 * 512 + 2 * 512)
        assert count(PSPNet(3, 64)) == PUBLISHED["resnet50"][0] + context + (4096 * 9 * 512 + 2 * 512) + 513
        # Shortcuts and gates come on top of the classic network.
        plain = count(UNet(4, 16))
        assert all(plain < count(SEGMENTERS[name](4, 16)) < 1.1 * plain for name in ("residual-unet", "attention-unet"))


@pytest.mark.parametrize("multitask", [False, True], ids=["single", "multitask"])
@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("size", [96, 224])
def test_feature_maps_halve_five_times(name: str, size: int, multitask: bool) -> None:
    with torch.device("meta"):
        model = build_classifier(name, CLASSES, 16, multitask=multitask)
        images = torch.empty(2, 1, size, size)
        maps = model.pyramid(images)
        expected = [(2, channels, size >> i, size >> i) for i, channels in enumerate(model.channels, start=1)]
        assert [tuple(x.shape) for x in maps] == expected
        assert isinstance(model, Classifier)
        assert model.last.in_features == model.channels[-1]
        output = model(images)
        assert output.logits.shape == (2, CLASSES)
        side = size if multitask else size // 16
        assert output.mask_logits is not None
        assert output.mask_logits.shape == (2, 1, side, side)


def networks() -> Mapping[str, tuple[nn.Module, tuple[int, ...]]]:
    """Every network at a small width, with the shape of one input."""
    flat: dict[str, tuple[nn.Module, tuple[int, ...]]] = {}
    for name in CLASSIFIERS:
        flat[name] = build_classifier(name, CLASSES, 8), (1, 64, 64)
    flat["multitask"] = build_classifier("resnet50", CLASSES, 8, multitask=True), (1, 64, 64)
    for name in SEGMENTERS:
        flat[name] = SEGMENTERS[name](4, 4), (4, 64, 64)
    for name in VOLUME_SEGMENTERS:
        flat[name] = VOLUME_SEGMENTERS[name](4, 3, 4), (4, 32, 32, 32)
    return flat


@pytest.mark.parametrize("name", [*CLASSIFIERS, "multitask", *SEGMENTERS, *VOLUME_SEGMENTERS])
def test_every_weight_learns(name: str) -> None:
    model, shape = networks()[name]
    # Start values of zero would hide what lies behind them.
    # Eight inputs: stochastic depth drops a block for a fifth of them at most.
    output = shaken(model, shape).train()(torch.from_numpy(patches(8, *shape)))
    parts = [part for part in output if part is not None] if isinstance(output, tuple) else [output]
    torch.stack([part.square().sum() for part in parts]).sum().backward()
    still = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []


def exported(graph: nn.Module, shape: tuple[int, ...], path: Path, outputs: tuple[str, ...]) -> dict[str, Any]:
    """Write the graph from a batch of two and hold it against torch with one and three; its outputs for three."""
    name = "image" if shape[0] == 1 else "images"
    export_graph(graph, torch.from_numpy(patches(2, *shape)), path, name, outputs)
    for rows in (1, 3):
        assert largest_difference(graph, path, patches(rows, *shape)) <= PARITY
    given = OnnxModel(path).run(patches(3, *shape))
    assert tuple(given) == outputs
    # An output that is the same for every input would agree whatever the graph does.
    assert {key for key, value in given.items() if np.ptp(value, axis=0).max() < 1e-3} == set()
    return given


def feature_space(features: int) -> FeatureSpace:
    """Fitted to noise."""
    return FeatureSpace.fit(noise(300, features), np.arange(300) % CLASSES, CLASSES)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_export(name: str, tmp_path: Path) -> None:
    model = shaken(build_classifier(name, CLASSES, 8), (1, 64, 64))
    images = torch.from_numpy(patches(2, 1, 64, 64))
    folded = fold_normalisation(model)
    with torch.no_grad():
        *answers, features = model(images)
        *folded_answers, folded_features = folded(images)
    torch.testing.assert_close(folded_answers, answers, atol=1e-4, rtol=1e-3)
    # Sums of a thousand values, of which some nearly cancel.
    torch.testing.assert_close(folded_features, features, atol=1e-3, rtol=1e-3)
    half = half_weights(folded)
    graph = ClassifierGraph(half, TEMPERATURE, feature_space(half.channels[-1]))
    given = exported(graph, (1, 64, 64), tmp_path / "model.onnx", TENSORS["classification"].outputs)
    # The map explains the logits exactly: pooled, with the bias, it is the logits.
    raw = given["logits"] * TEMPERATURE
    bias = half.last.bias.detach().numpy()
    assert given["cam"].shape == (3, CLASSES, 2, 2)
    np.testing.assert_allclose(given["cam"].mean(axis=(2, 3)) + bias, raw, atol=1e-4)


@pytest.mark.timeout(300)
def test_two_tasks_export_as_one_graph(tmp_path: Path) -> None:
    network = shaken(build_classifier("resnet50", CLASSES, 8, multitask=True), (1, 64, 64))
    model = half_weights(fold_normalisation(network))
    graph = ClassifierGraph(model, TEMPERATURE, feature_space(model.channels[-1]))
    given = exported(graph, (1, 64, 64), tmp_path / "model.onnx", (*TENSORS["classification"].outputs, PROBABILITY))
    assert given["probability"].shape == (3, 1, 64, 64)
    images = torch.from_numpy(patches(3, 1, 64, 64))
    with torch.no_grad():
        output = model(images)
    np.testing.assert_allclose(given["logits"] * TEMPERATURE, output.logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(given["probability"], torch.sigmoid(output.mask_logits).numpy(), atol=1e-4)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenters_export(name: str, tmp_path: Path) -> None:
    model = shaken(SEGMENTERS[name](4, 4), (4, 64, 64))
    images = torch.from_numpy(patches(2, 4, 64, 64))
    folded = fold_normalisation(model)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), model(images), atol=1e-4, rtol=1e-3)
    graph = SegmenterGraph(half_weights(folded))
    given = exported(graph, (4, 64, 64), tmp_path / "model.onnx", TENSORS["segmentation"].outputs)
    assert given["probability"].shape == (3, 1, 64, 64)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", VOLUME_SEGMENTERS)
def test_segmenters_of_volumes_export(name: str, tmp_path: Path) -> None:
    graph = SegmenterGraph(half_weights(shaken(VOLUME_SEGMENTERS[name](4, 3, 4), (4, 32, 32, 32))))
    given = exported(graph, (4, 32, 32, 32), tmp_path / "model.onnx", TENSORS["segmentation"].outputs)
    assert given["probability"].shape == (3, 3, 32, 32, 32)


@pytest.mark.parametrize("side", [64, 96, 128])
def test_volume_networks_take_patches_of_any_even_size(side: int) -> None:
    with torch.device("meta"):
        model = VOLUME_SEGMENTERS["residual-attention-unet-3d"](4, 3, 16)
        assert model(torch.empty(1, 4, side, side, side)).shape == (1, 3, side, side, side)
        assert model.encoders[-1].body[0].out_channels == 256


def test_a_label_without_slices_changes_no_distance() -> None:
    features = noise(300, 32)
    two = FeatureSpace.fit(features, np.arange(300) % 2, 2)
    three = FeatureSpace.fit(features, np.arange(300) % 2, 3)
    assert len(three.centroids) == 3
    np.testing.assert_array_equal(three.centroids[:2], two.centroids)
    np.testing.assert_array_equal(three.centroids[2], two.centroids[0])


@pytest.mark.parametrize(("size", "bins"), [(16, 6), (13, 3), (8, 1), (28, 6)])
def test_pooling_over_parts_is_adaptive_pooling(size: int, bins: int) -> None:
    x = torch.from_numpy(noise(2, 3, size))
    torch.testing.assert_close(x @ pooling_matrix(size, bins).T, functional.adaptive_avg_pool1d(x, bins))


def test_upsampling_starts_as_bilinear_interpolation() -> None:
    x = torch.from_numpy(noise(1, 1, 8, 8))
    for factor in (2, 8):
        given = bilinear_upsampling(factor)(x)
        expected = functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        # At the edge one fades to zero, the other repeats the last pixel.
        inner = slice(factor, -factor)
        torch.testing.assert_close(given[..., inner, inner], expected[..., inner, inner])


def test_a_gate_weighs_places_not_channels() -> None:
    skip = torch.rand(2, 8, 5, 5) + 0.1
    gate = AttentionGate(8)
    kept = gate(skip, torch.randn(2, 8, 5, 5)) / skip
    torch.testing.assert_close(kept, kept[:, :1].expand_as(kept))
    assert 0 < float(kept.min()) < float(kept.max()) < 1
