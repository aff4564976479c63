"""What int8 may change and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from core.contracts.tensors import TENSORS
from training.bundle.graphs import SegmenterGraph
from training.bundle.onnx_files import OnnxModel, export_graph, fold_normalisation, half_weights
from training.bundle.quantize import ATTEMPTS, float_nodes, float_parts, passes, quantise
from training.networks.lite import LiteUNet

SIZE = 64


@pytest.mark.parametrize(
    ("agreement", "may"),
    [
        ({"top1_agreement": 0.995, "accuracy_change": -0.2}, True),
        ({"top1_agreement": 0.994, "accuracy_change": 0.0}, False),
        ({"dice_change": 0.005, "dice_change_outlined": -0.005, "pixel_agreement": 0.9}, True),
        ({"dice_change": 0.001, "dice_change_outlined": -0.006, "pixel_agreement": 1.0}, False),
        ({"dice_change": 0.006, "pixel_agreement": 1.0}, False),
    ],
)
def test_int8_may_stand_in_where_no_figure_moves_too_far(agreement: dict[str, float], may: bool) -> None:
    assert passes(agreement) == may


def test_without_any_figure_nothing_stands_in() -> None:
    with pytest.raises(ValueError, match="empty"):
        passes({"pixel_agreement": 1.0})


def test_an_encoder_of_depthwise_convolutions_stays_float_and_its_decoder_does_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = SegmenterGraph(half_weights(fold_normalisation(LiteUNet("efficientnet-lite0").eval())))
    images = torch.rand(2, 4, SIZE, SIZE)
    export_graph(graph, images, tmp_path / "model.onnx", "images", TENSORS["segmentation"].outputs)
    model = onnx.load(tmp_path / "model.onnx")
    apart, excluded = set(float_parts(model)), set(float_nodes(model, ATTEMPTS[0]))
    convolutions = {node.name: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    for name, weight in convolutions.items():
        assert (name in apart) == (".encoder." in weight)
    decoders = {name for name, weight in convolutions.items() if ".decoders." in weight}
    assert len(decoders) == 10
    assert not decoders & excluded
    quantise(tmp_path / "model.onnx", tmp_path / "model.int8.onnx", images.numpy(), ATTEMPTS[0])
    exact, near = (OnnxModel(tmp_path / f"{name}.onnx").run(images.numpy()) for name in ("model", "model.int8"))
    np.testing.assert_allclose(near["probability"], exact["probability"], atol=0.02)
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "model.int8.onnx").graph.initializer}
    stored = [kind for name, kind in kinds.items() if ".encoder." in name and name.endswith("_int8")]
    assert stored
    assert set(stored) == {onnx.TensorProto.INT8}
