"""The network of photographs as a start: every layer finds its place, grey and doubled channels compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from training.networks.classifiers import DEVIATION, MEAN, ResNetClassifier
from training.networks.starts import check_photographs, fill, photograph_weights

BLOCKS = (3, 4, 6, 3)


def convolutions() -> list[tuple[str, tuple[int, int, int, int]]]:
    """Outputs and shapes of the published thin ResNet50."""
    found = [("bn_1/Fused:0", (64, 3, 7, 7))]
    before = 64
    for stage, blocks in enumerate(BLOCKS):
        narrow, wide = 32 * 2**stage, 128 * 2**stage
        for block in range(blocks):
            name = f"bn_stage{stage}_block{block}"
            if block == 0:
                found.append((f"{name}_proj_shortcut/Fused:0", (wide, before, 1, 1)))
            found.append((f"{name}_branch2a/Fused:0", (narrow, before, 1, 1)))
            found.append((f"{name}_branch2b/Fused:0", (narrow, narrow, 3, 3)))
            found.append((f"{name}_branch2c/Fused:0", (wide, narrow, 1, 1)))
            before = wide
    return found


def write_graph(path: Path, layers: list[tuple[str, tuple[int, int, int, int]]]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    nodes, constants, values = [], [], {}
    for index, (output, shape) in enumerate(layers):
        values[output] = generator.normal(0, 0.05, shape).astype(np.float32)
        constants += [
            numpy_helper.from_array(values[output], f"w{index}"),
            numpy_helper.from_array(generator.normal(0, 0.1, shape[0]).astype(np.float32), f"b{index}"),
        ]
        nodes.append(helper.make_node("Conv", [f"x{index}", f"w{index}", f"b{index}"], [output]))
    values["stem bias"] = numpy_helper.to_array(constants[1])
    graph = helper.make_graph(nodes, "thin", [helper.make_tensor_value_info("x0", TensorProto.FLOAT, None)], [])
    graph.initializer.extend(constants)
    onnx.save(helper.make_model(graph), path)
    return values


@pytest.fixture(scope="module")
def network() -> ResNetClassifier:
    torch.manual_seed(0)
    return ResNetClassifier(4)


def test_every_convolution_finds_its_place_and_is_doubled(tmp_path: Path, network: ResNetClassifier) -> None:
    thin = write_graph(tmp_path / "thin.onnx", convolutions())
    like = network.state_dict()

    found = photograph_weights(tmp_path / "thin.onnx", like)

    assert {name: value.shape for name, value in found.items() if name.endswith("weight")} == {
        name: value.shape for name, value in like.items() if name in found and name.endswith("weight")
    }
    original = torch.from_numpy(thin["bn_stage2_block1_branch2b/Fused:0"])
    doubled = found["backbone.layer3.1.conv2.weight"]
    assert doubled.shape == (256, 256, 3, 3)
    for copy in (doubled[:128], doubled[128:]):
        # Both copies of an input channel carry the same value, so their shares add up to the whole.
        torch.testing.assert_close(copy[:, :128] + copy[:, 128:], original)


def test_a_network_as_narrow_takes_every_weight_as_it_is(tmp_path: Path) -> None:
    thin = write_graph(tmp_path / "thin.onnx", convolutions())
    found = photograph_weights(tmp_path / "thin.onnx", ResNetClassifier(4, 32).state_dict())
    original = torch.from_numpy(thin["bn_stage2_block1_branch2b/Fused:0"])
    torch.testing.assert_close(found["backbone.layer3.1.conv2.weight"], original)


def test_only_the_network_that_recipes_mean_is_taken(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    write_graph(other, convolutions())
    with pytest.raises(ValueError, match="--photographs"):
        check_photographs(None)
    with pytest.raises(ValueError, match="sha256"):
        check_photographs(other)


def test_a_grey_slice_gives_what_the_photograph_of_it_would(tmp_path: Path, network: ResNetClassifier) -> None:
    thin = write_graph(tmp_path / "thin.onnx", convolutions())
    found = photograph_weights(tmp_path / "thin.onnx", network.state_dict())
    grey = torch.rand(1, 1, 32, 32)

    ours = functional.conv2d((grey - MEAN) / DEVIATION, found["backbone.conv1.weight"], found["backbone.conv1.bias"])

    photograph = 255 * grey.expand(-1, 3, -1, -1) - torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)
    weight, bias = torch.from_numpy(thin["bn_1/Fused:0"]), torch.from_numpy(thin["stem bias"].copy())
    torch.testing.assert_close(ours, functional.conv2d(photograph, weight, bias), rtol=1e-4, atol=1e-3)


def test_the_filled_network_computes_with_these_weights(tmp_path: Path, network: ResNetClassifier) -> None:
    write_graph(tmp_path / "thin.onnx", convolutions())
    found = photograph_weights(tmp_path / "thin.onnx", network.state_dict())
    slices = torch.rand(2, 1, 64, 64)

    fill(network, found, [slices])

    x = functional.conv2d(
        (slices - MEAN) / DEVIATION,
        found["backbone.conv1.weight"],
        found["backbone.conv1.bias"],
        stride=2,
        padding=3,
    )
    with torch.no_grad():
        first = network.pyramid(slices)[0]
    torch.testing.assert_close(first, functional.relu(x), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("layers", [convolutions()[:-1], [("another_network/conv", (64, 3, 7, 7))]])
def test_another_network_is_refused(
    tmp_path: Path, network: ResNetClassifier, layers: list[tuple[str, tuple[int, int, int, int]]]
) -> None:
    write_graph(tmp_path / "other.onnx", layers)
    with pytest.raises(ValueError, match="ResNet50"):
        photograph_weights(tmp_path / "other.onnx", network.state_dict())
