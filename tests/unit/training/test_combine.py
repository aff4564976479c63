"""Networks side by side: the mean of their answers, exactly, out of runs and out of bundles."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch comes with training/requirements.txt")
pytest.importorskip("monai", reason="monai comes with training/requirements.txt")

from torch import nn  # noqa: E402

from core.contracts.manifest import Manifest  # noqa: E402
from tests.fixtures.models import classifier_manifest, describe, segmenter_manifest  # noqa: E402
from training.checkpoints import MAKERS, load_trained, make_classifier, make_segmenter  # noqa: E402
from training.combine import combine, load_member  # noqa: E402
from training.config import (  # noqa: E402
    ClassifierConfig,
    ClassifierName,
    Phase,
    PretrainedSegmenterName,
    ScheduleConfig,
    SegmenterConfig,
    SegmenterName,
)
from training.graphs import (  # noqa: E402
    CLASSIFIER_OUTPUTS,
    SEGMENTER_OUTPUTS,
    ClassifierGraph,
    FeatureSpace,
    SegmenterGraph,
)
from training.models.pooled import Classifier  # noqa: E402
from training.models.restore import restore  # noqa: E402
from training.models.side_by_side import SegmentersSideBySide, SideBySide  # noqa: E402
from training.onnx_files import OnnxModel, export_graph, fold_normalisation, half_weights  # noqa: E402
from training.quantize import float_members  # noqa: E402
from training.records import Kind  # noqa: E402
from training.trainer import CHECKPOINT  # noqa: E402

SIZE = 64
LABELS = ClassifierConfig().labels


def config_of(architecture: ClassifierName, size: int = SIZE, labels: tuple[str, ...] = LABELS) -> ClassifierConfig:
    schedule = ScheduleConfig(phases=(Phase(size, 8),))
    return ClassifierConfig(architecture=architecture, width=8, schedule=schedule, labels=labels)


def write_run(run: Path, config: ClassifierConfig | SegmenterConfig, seen: int = 8) -> Path:
    """A run as training leaves it, of random weights."""
    as_dictionary = dataclasses.asdict(config)
    kind: Kind = "classifier" if isinstance(config, ClassifierConfig) else "segmenter"
    weights = MAKERS[kind](as_dictionary).state_dict()
    about = {"kind": kind, "config": as_dictionary}
    run.mkdir()
    torch.save({"about": about, "average": weights, "state": {"images_seen": seen, "history": []}}, run / CHECKPOINT)
    return run


@torch.no_grad()
def test_it_answers_with_the_weighted_mean_of_its_members(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = write_run(tmp_path / "one", config_of("resnet50"), seen=5)
    other = write_run(tmp_path / "other", config_of("densenet121"), seen=7)
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
    export_graph(graph, images[:2], tmp_path / "model.onnx", "image", CLASSIFIER_OUTPUTS)
    given = OnnxModel(tmp_path / "model.onnx").run(images.numpy())
    bias = graph.model.last.bias.numpy()
    np.testing.assert_allclose(given["cam"].mean(axis=(2, 3)) + bias, given["logits"], atol=1e-5)
    assert given["features"].shape == (3, 2 * 256)


@torch.no_grad()
def test_a_member_may_be_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.combine.ClassifierConfig", partial(ClassifierConfig, width=8))
    torch.manual_seed(0)
    network = make_classifier(dataclasses.asdict(config_of("resnet50"))).eval()
    # The exporter stores what is equal, as all biases are at first, only once.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.normal_(0, 0.1)
    graph = ClassifierGraph(half_weights(fold_normalisation(network)), 1.0, FeatureSpace.identity(6, 256))
    images = torch.rand(2, 1, SIZE, SIZE)
    export_graph(graph, images, tmp_path / "model.onnx", "image", CLASSIFIER_OUTPUTS)
    own = {"architecture": "resnet50", "files": [describe(tmp_path / "model.onnx", "reference")]}
    manifest = Manifest.model_validate({**classifier_manifest(), **own, "label_indices": (0, 1, 2, 3)})
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    member = load_member(tmp_path)
    assert (member.labels, member.size) == (LABELS, SIZE)
    expected = OnnxModel(tmp_path / "model.onnx").run(images.numpy())["logits"]
    np.testing.assert_allclose(member.model(images).logits.numpy(), expected, atol=1e-5)
    turned = manifest.model_copy(update={"labels": LABELS[3::-1]})
    (tmp_path / "manifest.json").write_text(turned.model_dump_json())
    with pytest.raises(ValueError, match="another order"):
        load_member(tmp_path)


@torch.no_grad()
def test_in_int8_networks_of_depthwise_convolutions_stay_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    members = [make_classifier(dataclasses.asdict(config_of(name))) for name in ("resnet50", "efficientnet-b0")]
    network = half_weights(fold_normalisation(SideBySide(members, (1, 1)).eval()))
    graph = ClassifierGraph(network, 1.0, FeatureSpace.identity(len(LABELS), network.channels[-1]))
    export_graph(graph, torch.rand(2, 1, SIZE, SIZE), tmp_path / "model.onnx", "image", CLASSIFIER_OUTPUTS)
    model = onnx.load(tmp_path / "model.onnx")
    apart = set(float_members(model))
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    readers = {name: weight for name, weight in weights.items() if ".members." in weight}
    assert len(readers) > 50
    for name, weight in readers.items():
        assert (name in apart) == (".members.1." in weight)
    # What reads both is float as well: the maps, and everything behind them.
    assert model.graph.node[-1].name in apart


def test_members_that_differ_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", config_of("resnet50"))
    larger = write_run(tmp_path / "larger", config_of("resnet50", size=96))
    fewer = write_run(tmp_path / "fewer", config_of("resnet50", labels=LABELS[:4]))
    for other in (larger, fewer):
        with pytest.raises(ValueError, match="differ"):
            combine((one, other), tmp_path / "both")
    with pytest.raises(ValueError, match="alone"):
        combine((one,), tmp_path / "both")
    assert not (tmp_path / "both").exists()


def segmenter_config(architecture: SegmenterName | PretrainedSegmenterName = "unet") -> SegmenterConfig:
    return SegmenterConfig(architecture=architecture, width=4, schedule=ScheduleConfig(phases=(Phase(SIZE, 8),)))


def stirred(network: nn.Module) -> nn.Module:
    """Its normalisation no longer does nothing; the exporter stores what is equal, as all biases are, only once."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
    return network.eval()


@torch.no_grad()
def test_segmenters_answer_with_the_weighted_mean_of_each_pixel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = write_run(tmp_path / "one", segmenter_config(), seen=5)
    other = write_run(tmp_path / "other", segmenter_config("efficientnet-lite2-unet"), seen=7)
    combine((one, other), tmp_path / "both", (1, 3))
    both = load_trained(tmp_path / "both")
    assert (both.kind, both.architecture, both.labels, both.images_seen) == (
        "segmenter",
        "unet+efficientnet-lite2-unet",
        ("tumor",),
        12,
    )
    images = torch.rand(2, 4, SIZE, SIZE)
    first, second = (load_trained(run).model(images) for run in (one, other))
    torch.testing.assert_close(both.model(images), 0.25 * first + 0.75 * second)


@torch.no_grad()
def test_their_graph_is_what_each_goes_on_from_or_stands_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.combine.SegmenterConfig", partial(SegmenterConfig, width=4))
    torch.manual_seed(0)
    unet = stirred(make_segmenter(dataclasses.asdict(segmenter_config())))
    other = stirred(make_segmenter(dataclasses.asdict(segmenter_config("residual-unet"))))
    images = torch.rand(2, 4, SIZE, SIZE)
    for network, name in ((unet, "one"), (SegmentersSideBySide([unet, other], (1, 1)), "both")):
        graph = SegmenterGraph(half_weights(fold_normalisation(network)))
        (tmp_path / name).mkdir()
        export_graph(graph, images, tmp_path / name / "model.onnx", "images", SEGMENTER_OUTPUTS)
        given = OnnxModel(tmp_path / name / "model.onnx").run(images.numpy())["probability"]
        np.testing.assert_allclose(given, graph(images).numpy(), atol=1e-4)
    # Of two side by side a U-Net, and slices in a volume, begin with the first.
    again = make_segmenter(dataclasses.asdict(segmenter_config()))
    restore(again, tmp_path / "both" / "model.onnx", ())
    torch.testing.assert_close(again(images), half_weights(fold_normalisation(unet))(images), atol=1e-4, rtol=1e-4)
    # A bundle of one is a member.
    graph_file = describe(tmp_path / "one" / "model.onnx", "reference")
    manifest = Manifest.model_validate({**segmenter_manifest(), "architecture": "unet-16-256", "files": [graph_file]})
    (tmp_path / "one" / "manifest.json").write_text(manifest.model_dump_json())
    member = load_member(tmp_path / "one")
    assert (member.kind, member.labels, member.config["architecture"]) == ("segmenter", ("tumor",), "unet")
    torch.testing.assert_close(member.model(images), again(images), atol=1e-4, rtol=1e-4)


def test_a_classifier_and_a_segmenter_make_no_network(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", config_of("resnet50"))
    other = write_run(tmp_path / "other", segmenter_config())
    with pytest.raises(ValueError, match="side by side: classifier, segmenter"):
        combine((one, other), tmp_path / "both")
