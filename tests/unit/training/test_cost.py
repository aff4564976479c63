"""CPU time of a file: measured by the run, larger for more work, and of the right input."""

from __future__ import annotations

import platform
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.bundle.measured import core, cpu_ms


def convolutions(path: Path, count: int) -> Path:
    """A graph of ``count`` convolutions of 16 channels, of any batch and sides."""
    weights = numpy_helper.from_array(np.full((16, 16, 3, 3), 0.01, np.float32), "w")
    names = ["image", *(f"x{index}" for index in range(1, count)), "answer"]
    nodes = [helper.make_node("Conv", [before, "w"], [after], pads=[1, 1, 1, 1]) for before, after in pairwise(names)]
    given, answer = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 16, "h", "w"]) for name in ("image", "answer")
    )
    graph = helper.make_graph(nodes, "g", [given], [answer], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_more_work_costs_more_whichever_comes_first(tmp_path: Path) -> None:
    one, many = convolutions(tmp_path / "one.onnx", 1), convolutions(tmp_path / "many.onnx", 30)
    for files in ((one, many), (many, one)):
        costs = cpu_ms(files, (96, 96))
        assert costs.keys() == {"one.onnx", "many.onnx"}
        assert 0 < 3 * costs["one.onnx"] < costs["many.onnx"]


def test_larger_inputs_cost_more(tmp_path: Path) -> None:
    file = convolutions(tmp_path / "model.onnx", 10)
    assert 3 * cpu_ms([file], (32, 32))["model.onnx"] < cpu_ms([file], (192, 192))["model.onnx"]


def test_the_kind_of_core_is_named() -> None:
    assert core().startswith(platform.machine())
