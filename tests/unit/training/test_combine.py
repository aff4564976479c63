"""Classifiers side by side: the mean of their answers, exactly, out of runs and out of bundles."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from core.contracts.manifest import Manifest
from core.contracts.tensors import TENSORS
from tests.fixtures.models import classifier_manifest, describe
from tests.support.runs import write_run
from training.bundle.combine import combine, load_member
from training.bundle.graphs import ClassifierGraph, FeatureSpace
from training.bundle.onnx_files import OnnxModel, export_graph, fold_normalisation, half_weights
from training.bundle.quantize import NothingToGainError, all_float, float_parts, quantise_run
from training.config import ClassifierConfig, ClassifierName, Phase, ScheduleConfig
from training.loop.checkpoints import load_trained
from training.networks.classifiers import Classifier
from training.networks.registry import make_classifier
from training.networks.together import SideBySide
from training.records import INT8_FILE, REFERENCE_FILE, Export

SIZE = 64
LABELS = ClassifierConfig().labels


def config_of(architecture: ClassifierName, size: int = SIZE, labels: tuple[str, ...] = LABELS) -> ClassifierConfig:
    schedule = ScheduleConfig(phases=(Phase(size, 8),))
    return ClassifierConfig(architecture=architecture, width=8, schedule=schedule, labels=labels)


@torch.no_grad()
def test_it_answers_with_the_weighted_mean_of_its_members(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = write_run(tmp_path / "one", "classifier", config_of("resnet50"), seen=5)
    other = write_run(tmp_path / "other", "classifier", config_of("densenet121"), seen=7)
    combine((one, other), tmp_path / "both", (3, 1))
    both = load_trained(tmp_path / "both")
    assert isinstance(both.model, Classifier)
    assert (both.architecture, both.labels, both.images_seen) == ("resnet50+densenet121", LABELS, 12)
    images = torch.rand(3, 1, SIZE, SIZE)
    first, second = (load_trained(run).model(images).logits for run in (one, other))
    torch.testing.assert_close(both.model(images).logits, 0.75 * first + 0.25 * second)
    assert not torch.allclose(first, second, atol=1e-3)


@torch.no_grad()
def test_its_graph_has_exact_maps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    members = [make_classifier(dataclasses.asdict(config_of(name))) for name in ("resnet50", "resnet50v2")]
    network = SideBySide(members, (1, 1)).eval()
    graph = ClassifierGraph(
        half_weights(fold_normalisation(network)), 1.0, FeatureSpace.identity(len(LABELS), network.channels[-1])
    )
    images = torch.rand(3, 1, SIZE, SIZE)
    export_graph(graph, images[:2], tmp_path / "model.onnx", "image", TENSORS["classification"].outputs)
    given = OnnxModel(tmp_path / "model.onnx").run(images.numpy())
    bias = graph.model.last.bias.numpy()
    np.testing.assert_allclose(given["cam"].mean(axis=(2, 3)) + bias, given["logits"], atol=1e-5)
    assert given["features"].shape == (3, 2 * 256)


def write_bundle(folder: Path, network: nn.Module, architecture: str) -> Manifest:
    """Graph and manifest of a network of the six labels."""
    # The exporter stores what is equal, as all biases are at first, only once.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.normal_(0, 0.1)
    assert isinstance(network, Classifier)
    space = FeatureSpace.identity(len(LABELS), network.channels[-1])
    graph = ClassifierGraph(half_weights(fold_normalisation(network)), 1.0, space)
    export_graph(graph, torch.rand(2, 1, SIZE, SIZE), folder / "model.onnx", "image", TENSORS["classification"].outputs)
    own = {"architecture": architecture, "files": [describe(folder / "model.onnx", "reference")]}
    manifest = Manifest.model_validate({**classifier_manifest(), **own, "label_indices": (0, 1, 2, 3)})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return manifest


@torch.no_grad()
def test_a_bundle_of_several_goes_in_as_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.bundle.combine.ClassifierConfig", partial(ClassifierConfig, width=8))
    torch.manual_seed(0)
    names: tuple[ClassifierName, ...] = ("resnet50", "resnet50v2")
    members = [make_classifier(dataclasses.asdict(config_of(name))) for name in names]
    write_bundle(tmp_path, SideBySide(members, (3, 1)).eval(), "+".join(names))
    third = write_run(tmp_path / "third", "classifier", config_of("densenet121"))
    combine((tmp_path, third), tmp_path / "all", (2, 1))
    found = load_trained(tmp_path / "all")
    assert found.architecture == "resnet50+resnet50v2+densenet121"
    assert isinstance(found.model, SideBySide)
    assert [isinstance(member, SideBySide) for member in found.model.members] == [False] * 3
    images = torch.rand(2, 1, SIZE, SIZE)
    of_two = torch.from_numpy(OnnxModel(tmp_path / "model.onnx").run(images.numpy())["logits"])
    of_one = load_trained(third).model(images).logits
    torch.testing.assert_close(found.model(images).logits, (2 * of_two + of_one) / 3, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_member_may_be_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.bundle.combine.ClassifierConfig", partial(ClassifierConfig, width=8))
    torch.manual_seed(0)
    network = make_classifier(dataclasses.asdict(config_of("resnet50"))).eval()
    manifest = write_bundle(tmp_path, network, "resnet50")
    images = torch.rand(2, 1, SIZE, SIZE)
    member = load_member(tmp_path)
    assert (member.labels, member.size) == (LABELS, SIZE)
    expected = OnnxModel(tmp_path / "model.onnx").run(images.numpy())["logits"]
    np.testing.assert_allclose(member.model(images).logits.numpy(), expected, atol=1e-5)
    turned = manifest.model_copy(update={"labels": LABELS[3::-1]})
    (tmp_path / "manifest.json").write_text(turned.model_dump_json())
    with pytest.raises(ValueError, match="another order"):
        load_member(tmp_path)
    cut = manifest.preprocessing.model_copy(update={"head_margin": 0.02})
    (tmp_path / "manifest.json").write_text(manifest.model_copy(update={"preprocessing": cut}).model_dump_json())
    with pytest.raises(ValueError, match="another way"):
        load_member(tmp_path)


@torch.no_grad()
def test_in_int8_networks_of_depthwise_convolutions_stay_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    members = [make_classifier(dataclasses.asdict(config_of(name))) for name in ("resnet50", "efficientnet-b0")]
    network = half_weights(fold_normalisation(SideBySide(members, (1, 1)).eval()))
    graph = ClassifierGraph(network, 1.0, FeatureSpace.identity(len(LABELS), network.channels[-1]))
    export_graph(
        graph, torch.rand(2, 1, SIZE, SIZE), tmp_path / "model.onnx", "image", TENSORS["classification"].outputs
    )
    model = onnx.load(tmp_path / "model.onnx")
    apart = set(float_parts(model))
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    readers = {name: weight for name, weight in weights.items() if ".members." in weight}
    assert len(readers) > 50
    for name, weight in readers.items():
        assert (name in apart) == (".members.1." in weight)
    assert not all_float(model)
    # What reads both is float as well: the maps, and everything behind them.
    assert model.graph.node[-1].name in apart


def test_where_all_would_stay_float_no_int8_file_is_made(tmp_path: Path) -> None:
    torch.manual_seed(0)
    members = [make_classifier(dataclasses.asdict(config_of("efficientnet-b0"))) for _ in range(2)]
    network = half_weights(fold_normalisation(SideBySide(members, (1, 1)).eval()))
    graph = ClassifierGraph(network, 1.0, FeatureSpace.identity(len(LABELS), network.channels[-1]))
    export_graph(
        graph, torch.rand(2, 1, SIZE, SIZE), tmp_path / REFERENCE_FILE, "image", TENSORS["classification"].outputs
    )
    told = {
        "kind": "classifier",
        "architecture": "efficientnet-b0",
        "size": SIZE,
        "labels": LABELS,
        "parity": 0.0,
        "rounding": 0.0,
        "images_seen": 1,
    }
    Export.model_validate(told | {"sizes": {}}).write(tmp_path)
    (tmp_path / INT8_FILE).write_bytes(b"of a run before")
    with pytest.raises(NothingToGainError, match="stay float"):
        quantise_run(tmp_path, tmp_path / "no data")
    assert not (tmp_path / INT8_FILE).exists()


def test_members_that_differ_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", "classifier", config_of("resnet50"))
    larger = write_run(tmp_path / "larger", "classifier", config_of("resnet50", size=96))
    fewer = write_run(tmp_path / "fewer", "classifier", config_of("resnet50", labels=LABELS[:4]))
    for other in (larger, fewer):
        with pytest.raises(ValueError, match="differ"):
            combine((one, other), tmp_path / "both")
    with pytest.raises(ValueError, match="alone"):
        combine((one,), tmp_path / "both")
    assert not (tmp_path / "both").exists()
