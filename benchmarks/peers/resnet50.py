"""A ResNet50 v1.5 with drawn weights, and the bundle that Falx serves it from.

Speed does not depend on what the weights say. Batch normalisation is folded into the convolutions, as ONNX Runtime does
when it loads a trained one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from core.contracts.tensors import CAM, DISTANCE, ENERGY, FEATURES, IMAGE, LOGITS

NAME: Final = "resnet50"
SIDE: Final = 224
LABELS: Final = ("glioma", "meningioma", "pituitary", "no_tumor")
_STAGES: Final = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
_WIDENING: Final = 4
_FEATURES: Final = 2048
_MAP: Final = 7
# So that sums over residual blocks stay of one size.
_LAST_SHARE: Final = 0.2
_OPSET: Final = 18

Array = npt.NDArray[Any]


class _Graph:
    """Nodes and weights so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self._draw = np.random.default_rng(50)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, value: Array) -> str:
        self.weights[name] = value
        return name

    def conv(self, source: str, name: str, sizes: tuple[int, int, int], stride: int = 1, share: float = 1.0) -> str:
        """A convolution of ``sizes`` (channels in, channels out, kernel) with drawn weights; its output's name."""
        before, after, kernel = sizes
        scale = share * np.sqrt(2 / (before * kernel**2))
        drawn = self._draw.normal(0, scale, (after, before, kernel, kernel)).astype(np.float32)
        weights = self.weight(f"{name}.weight", drawn)
        bias = self.weight(f"{name}.bias", np.zeros(after, np.float32))
        return self.node("Conv", [source, weights, bias], name, pads=[kernel // 2] * 4, strides=[stride] * 2)

    def block(self, source: str, name: str, channels: tuple[int, int], stride: int) -> str:
        """A bottleneck from ``channels`` (in, inner); v1.5 has its stride in the middle."""
        before, inner = channels
        after = inner * _WIDENING
        first = self.node("Relu", [self.conv(source, f"{name}.1", (before, inner, 1))], f"{name}.1.relu")
        second = self.node("Relu", [self.conv(first, f"{name}.2", (inner, inner, 3), stride)], f"{name}.2.relu")
        third = self.conv(second, f"{name}.3", (inner, after, 1), share=_LAST_SHARE)
        aside = self.conv(source, f"{name}.side", (before, after, 1), stride) if before != after else source
        return self.node("Relu", [self.node("Add", [third, aside], f"{name}.sum")], f"{name}.relu")

    def mean(self, source: str, output: str, *axes: int) -> str:
        """The mean over ``axes``, which go away."""
        chosen = self.weight(f"{output}.axes", np.array(axes, np.int64))
        return self.node("ReduceMean", [source, chosen], output, keepdims=0)


def build() -> onnx.ModelProto:
    """The network with the outputs of a classifier of Falx, for images (n, 1, 224, 224) in [0, 1]."""
    graph = _Graph()
    source = graph.node("Relu", [graph.conv(IMAGE, "stem", (1, 64, 7), 2)], "stem.relu")
    source = graph.node("MaxPool", [source], "stem.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (blocks, inner, stride) in enumerate(_STAGES):
        for index in range(blocks):
            source = graph.block(source, f"{stage}.{index}", (channels, inner), stride if index == 0 else 1)
            channels = inner * _WIDENING
    graph.conv(source, CAM, (_FEATURES, len(LABELS), 1), share=_LAST_SHARE)
    graph.mean(CAM, LOGITS, 2, 3)
    graph.mean(source, FEATURES, 2, 3)
    row = graph.weight("row", np.array([1], np.int64))
    graph.node("Neg", [graph.node("ReduceLogSumExp", [LOGITS, row], "evidence", keepdims=0)], ENERGY)
    graph.node("ReduceL2", [FEATURES, row], DISTANCE, keepdims=0)
    count = len(LABELS)
    shapes: dict[str, tuple[str | int, ...]] = {
        LOGITS: ("N", count),
        CAM: ("N", count, _MAP, _MAP),
        ENERGY: ("N",),
        FEATURES: ("N", _FEATURES),
        DISTANCE: ("N",),
    }
    made = helper.make_graph(
        graph.nodes,
        NAME,
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ("N", 1, SIDE, SIDE))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in graph.weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_bundle(models_dir: Path) -> Path:
    """Write ``resnet50/1`` below ``models_dir``, unless it is there; the path of its network."""
    folder = models_dir / NAME / "1"
    path = folder / "model.onnx"
    if not (folder / "manifest.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(build(), path)
        (folder / "manifest.json").write_text(json.dumps(_manifest(path.read_bytes()), indent=1))
    return path


def _manifest(network: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(network).hexdigest()
    file = {"name": "model.onnx", "variant": "reference", "size_bytes": len(network), "sha256": digest}
    return {
        "schema_version": 1,
        "name": NAME,
        "version": "1",
        "task": "classification",
        "architecture": "resnet50",
        "title": "ResNet50 with drawn weights, for measurements of speed",
        "files": [file],
        "preprocessing": {"kind": "classification", "size": SIDE},
        "labels": list(LABELS),
        "calibration": {"temperature": 1.0, "conformal_quantile": 0.7, "coverage": 0.95},
        "input_check": {"max_distance": 1e9, "max_energy": None},
        "metrics": [],
        "data_sets": [],
        "licence": "Apache-2.0",
    }
