"""A segmenter that asks another: where all of T1, T1 post-contrast and FLAIR are shown, and nowhere else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from core.contracts.manifest import Manifest
from core.contracts.tensors import TENSORS
from tests.fixtures.models import describe, segmenter_manifest
from tests.support.runs import write_run
from training.bundle.combine import second_reader
from training.bundle.graphs import SegmenterGraph
from training.bundle.onnx_files import OnnxModel, branches, export_graph, fold_normalisation, graphs, half_weights
from training.bundle.quantize import ATTEMPTS, quantise
from training.config import ClassifierConfig, Phase, ScheduleConfig, SegmenterConfig
from training.loop.checkpoints import load_trained
from training.networks.together import SecondReader, shows_all
from training.networks.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

SIZE = 32
SCHEDULE = ScheduleConfig(phases=(Phase(SIZE, 8),))


def shown(*channels: int, seed: int = 0) -> Tensor:
    """(1, 4, SIZE, SIZE) with these channels, the others absent."""
    images = torch.rand(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    absent = [channel for channel in range(4) if channel not in channels]
    images[:, absent] = 0
    return images


def unknown() -> Tensor:
    """One slice of unknown sequence, as a single grey upload arrives."""
    return shown(0)[:, :1].repeat(1, 4, 1, 1)


def lively(width: int = 4) -> UNet:
    """A U-Net whose answers depend on what it is shown."""
    network = UNet(4, width)
    # Not zero: the exporter leaves such a bias out.
    nn.init.constant_(network.head.bias, 0.1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


@pytest.fixture
def pair() -> SecondReader:
    torch.manual_seed(0)
    return SecondReader(lively(), lively()).eval()


def test_the_second_is_asked_where_three_sequences_are_shown() -> None:
    batches = [shown(0, 1, 3), shown(0, 1, 2, 3), shown(0, 1), shown(1, 3), shown(3), shown(0, 1, 2), unknown()]
    assert shows_all(torch.cat(batches)).tolist() == [True, True, False, False, False, False, False]
    # A sequence that repeats another tells nothing of its own.
    repeated = shown(0, 1, 3)
    repeated[:, 0] = repeated[:, 3]
    assert not shows_all(repeated).any()


@torch.no_grad()
def test_it_answers_with_the_mean_there_and_alone_elsewhere(pair: SecondReader) -> None:
    asked, alone = shown(0, 1, 3), torch.cat([shown(3), unknown()])
    torch.testing.assert_close(pair(asked), (pair.first(asked) + pair.second(asked)) / 2)
    torch.testing.assert_close(pair(alone), pair.first(alone))
    both = pair(torch.cat([asked, alone]))
    torch.testing.assert_close(both, torch.cat([pair(asked), pair(alone)]))
    assert not torch.allclose(pair.first(asked), pair.second(asked), atol=1e-2)


@torch.no_grad()
def test_its_graph_has_the_second_in_a_branch(pair: SecondReader, tmp_path: Path) -> None:
    graph = SegmenterGraph(half_weights(fold_normalisation(pair)))
    path = tmp_path / "model.onnx"
    export_graph(graph, torch.cat([shown(0, 1, 3), shown(3)]), path, "images", TENSORS["segmentation"].outputs)
    given = OnnxModel(path)
    for batch in (shown(0, 1, 3), unknown(), torch.cat([shown(3), shown(0, 1, 3), unknown()])):
        np.testing.assert_allclose(given.run(batch.numpy())["probability"], graph(batch).numpy(), atol=1e-5)
    model = onnx.load(path)
    asks = max(branches(model), key=lambda branch: len(branch.node))
    owned = {tensor.name: tensor.data_type for tensor in asks.initializer}
    assert "model.second.encoders.4.3.weight_fp16" in owned
    assert owned["model.second.encoders.4.3.weight_fp16"] == onnx.TensorProto.FLOAT16
    assert not [tensor.name for tensor in model.graph.initializer if ".second." in tensor.name]


@torch.no_grad()
def test_in_int8_both_are_int8(pair: SecondReader, tmp_path: Path) -> None:
    graph = SegmenterGraph(half_weights(fold_normalisation(pair)))
    source, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    slices = torch.cat([shown(0, 1, 3, seed=seed) for seed in range(4)] + [unknown()])
    export_graph(graph, slices[:2], source, "images", TENSORS["segmentation"].outputs)
    quantise(source, target, slices.numpy(), ATTEMPTS[0])
    model = onnx.load(target)
    for part in graphs(model):
        kinds = {tensor.name.rpartition("model.")[2]: tensor.data_type for tensor in part.initializer}
        whose = {"main_graph": "first", "true_graph_0": "second"}.get(part.name)
        if whose:
            assert kinds[f"{whose}.encoders.4.3.weight_quantized"] == onnx.TensorProto.INT8
    exact, near = (OnnxModel(path).run(slices.numpy())["probability"] for path in (source, target))
    assert 0 < np.abs(exact - near).max() < 0.1


@torch.no_grad()
def test_it_is_made_of_runs_and_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(SegmenterConfig, width=4, schedule=SCHEDULE)
    monkeypatch.setattr("training.bundle.combine.SegmenterConfig", small)
    first = write_run(tmp_path / "first", "segmenter", small(architecture="residual-unet"))
    torch.manual_seed(0)
    network, bundle = lively(), tmp_path / "bundle"
    bundle.mkdir()
    folded = SegmenterGraph(half_weights(fold_normalisation(network)))
    export_graph(folded, shown(3).repeat(2, 1, 1, 1), bundle / "model.onnx", "images", TENSORS["segmentation"].outputs)
    own = {"architecture": "unet-16-256", "files": [describe(bundle / "model.onnx", "reference")]}
    (bundle / "manifest.json").write_text(Manifest.model_validate({**segmenter_manifest(), **own}).model_dump_json())
    second_reader(first, bundle, tmp_path / "both")
    both = load_trained(tmp_path / "both")
    assert (both.architecture, both.kind.name, both.images_seen) == ("residual-unet+unet", "segmenter", 8)
    images = shown(0, 1, 3)
    expected = (load_trained(first).model(images) + folded.model(images)) / 2
    torch.testing.assert_close(both.model(images), expected, atol=1e-4, rtol=1e-4)


def test_classifiers_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", "segmenter", SegmenterConfig(width=4, schedule=SCHEDULE))
    other = write_run(tmp_path / "other", "classifier", ClassifierConfig(width=8, schedule=SCHEDULE))
    with pytest.raises(ValueError, match="wanted is the kind segmenter"):
        second_reader(one, other, tmp_path / "both")
    assert not (tmp_path / "both").exists()
