#!/usr/bin/env bash
# Raising a model's operator set with onnx's own converter moves everything it draws, by up to several voxels.
#
# Seen with onnx 1.23.2 and onnxruntime 1.32.0.
# Resize of operator set 10 and Upsample of set 9 have no attribute for how voxels are placed; ONNX Runtime places them
# from the corner. In set 11 the attribute exists and its default counts from the middle of a voxel. The converter from
# onnx.version_converter leaves the attribute out, so the same linear enlargement now counts otherwise: what lay at 6.0
# lies at 6.5 after an enlargement of two; an enlargement of four moves it by 1.5 voxels, one of eight by 3.5. The
# checker passes, the shapes are the same, no warning is printed.
# It matters because older segmentation networks end in exactly such a layer: after the conversion every mask lies
# shifted the same way along each axis, which the overlap score of a large tumour hardly shows.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
{ python3 -m venv "$tmp/venv" &&
    "$tmp/venv/bin/pip" install --quiet --disable-pip-version-check \
        onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6; } ||
    { echo "the packages cannot be installed here" >&2; exit 2; }

"$tmp/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, version_converter

POINT = np.zeros((1, 1, 1, 8), np.float32)
POINT[..., 3] = 1


def enlarging(name, version, factor):
    node = helper.make_node(name, ["x", "scales"], ["y"], mode="linear")
    sizes = {"x": 8, "y": 8 * factor}
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [1, 1, 1, size]) for end, size in sizes.items()]
    scales = numpy_helper.from_array(np.float32([1, 1, 1, factor]), "scales")
    graph = helper.make_graph([node], "enlarge", ends[:1], ends[1:], [scales])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


def centre(model):
    """Centre of mass of what the enlarged point has become."""
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    drawn = session.run(None, {"x": POINT})[0].ravel()
    return float((drawn * np.arange(drawn.size)).sum() / drawn.sum())


moved = {}
for name, version in (("Resize", 10), ("Upsample", 9)):
    for factor in (2, 4, 8):
        model = enlarging(name, version, factor)
        before = centre(model)
        after = [centre(version_converter.convert_version(model, target)) for target in (11, 13, 18)]
        moved[name, factor] = {round(one - before, 3) for one in after}
        print(f"{name}-{version} x{factor}: centre {before:.2f}, converted to 11, 13 and 18: {after}")

if moved != {(name, factor): {(factor - 1) / 2} for name in ("Resize", "Upsample") for factor in (2, 4, 8)}:
    sys.exit("changed: expected to move by 0.5, 1.5 and 3.5 voxels")
print("as stated: conversion moves what is drawn by (factor - 1) / 2 voxels")
PYTHON
