"""A tiny network for volumes with a trap in it, and the phantoms that go through it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fixtures.models import describe
from tests.fixtures.volume_models import make_phantom, volume_manifest, volume_network, write_volume_bundle
from tests.fixtures.volumes import make_affine, to_nifti

# A window takes some 20 ms of one core: a job is long enough to be killed in, and short enough for sixty of them.
_SLOW_LAYERS: Final = 2
_TRAPPED_SEQUENCE: Final = 0
GOOD: Final = ("upright", "mirrored", "oblique", "flat")
ENDLESS: Final = "endless"
_SIDE: Final = 112


def write_trapped_bundle(models_dir: Path) -> Path:
    """Write ``tumor-volume/1`` below ``models_dir``: a volume of sequence t1 kills the process that runs it.

    Its presence makes the network divide the lowest 64-bit integer by -1, a quotient that no such integer holds. ONNX
    Runtime leaves that to the processor, which on x86-64 ends the process with SIGFPE.
    """
    write_volume_bundle(models_dir)
    folder = models_dir / "tumor-volume" / "1"
    network = volume_network(_SLOW_LAYERS)
    _lay_trap(network.graph)
    onnx.checker.check_model(network, full_check=True)
    onnx.save(network, folder / "model.onnx")
    files = [describe(folder / "model.onnx", "reference")]
    (folder / "manifest.json").write_text(json.dumps({**volume_manifest(), "files": files}))
    return models_dir


def _lay_trap(graph: onnx.GraphProto) -> None:
    weights: dict[str, npt.NDArray[Any]] = {
        "trapped": np.array([_TRAPPED_SEQUENCE], np.int64),
        "one": np.array(1, np.int64),
        "lowest": np.array(np.iinfo(np.int64).min),
        "none": np.array(0, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    *before, sigmoid = list(graph.node)
    trap = [
        helper.make_node("Gather", ["volumes", "trapped"], ["sequence"], axis=1),
        helper.make_node("ReduceMax", ["sequence"], ["highest"], keepdims=0),
        helper.make_node("Ceil", ["highest"], ["present"]),
        helper.make_node("Cast", ["present"], ["once"], to=TensorProto.INT64),
        helper.make_node("Add", ["once", "once"], ["twice"]),
        helper.make_node("Sub", ["one", "twice"], ["divisor"]),
        helper.make_node("Div", ["lowest", "divisor"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["far"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["far", "none"], ["unchanged"]),
        helper.make_node("Add", [sigmoid.input[0], "unchanged"], ["sprung"]),
    ]
    sigmoid.input[0] = "sprung"
    del graph.node[:]
    graph.node.extend([*before, *trap, sigmoid])


def make_phantoms() -> dict[str, bytes]:
    """Compressed NIfTI files by name: those of ``GOOD``, and one that takes a minute or more."""
    grids = {
        "upright": ((31, 27, 25), "RAS", 0.0),
        "mirrored": ((27, 30, 22), "LPS", 0.0),
        "oblique": ((29, 25, 27), "LAS", 15.0),
        "flat": ((33, 28, 21), "PIR", 0.0),
        ENDLESS: ((_SIDE, _SIDE, _SIDE), "RAS", 0.0),
    }
    phantoms = {}
    for seed, (name, (shape, orientation, tilt)) in enumerate(grids.items()):
        volume, _ = make_phantom(shape, make_affine(orientation, (1.0, 1.0, 1.0), shape, tilt), seed=seed)
        phantoms[name] = to_nifti(volume.voxels.astype(np.int16), volume.affine, compress=True)
    return phantoms
