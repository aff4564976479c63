#!/usr/bin/env bash
# A window of air, all of one value, comes out of a normalisation layer in ONNX Runtime as NaN or as up to 0.98.
#
# Seen with onnxruntime 1.32.0 (CPU provider, float32, one thread), models built with onnx 1.23.2.
# By its definition, and computed in float64, the layer gives 0 for a window whose voxels are all equal. In float32 on
# the CPU, GroupNormalization of operator set 21 gives NaN in many such windows, among them 64, 96 and 128 voxels a side
# filled with -0.73, and in windows of 1000 with noise of 1. InstanceNormalization stays finite, and is right where
# there is contrast, but a window of 128 voxels a side filled with 3.1 comes out at 0.88 instead of 0, one of 17.3 at
# 0.98.
# Which of the values turn into NaN may depend on the processor; that some do is what is checked.
# It matters because sliding windows over a head meet such windows all the time: after the usual z-score the air has
# one small negative value, and one NaN spoils all windows that are averaged with it. Networks for
# photographs, whose maps are small, do not show it.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
{ python3 -m venv "$tmp/venv" &&
    "$tmp/venv/bin/pip" install --quiet --disable-pip-version-check \
        onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6; } ||
    { echo "the packages cannot be installed here" >&2; exit 2; }

"$tmp/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

VALUES = (-0.73, 1.3, 3.1, 5.7, 17.3, 100.0)


def session(name, shape):
    attributes = {"num_groups": shape[1]} if name == "GroupNormalization" else {}
    node = helper.make_node(name, ["x", "scale", "bias"], ["y"], epsilon=1e-5, **attributes)
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in "xy"]
    weights = [
        numpy_helper.from_array(np.full(shape[1], value, np.float32), key) for key, value in (("scale", 1), ("bias", 0))
    ]
    graph = helper.make_graph([node], "norm", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


nans, worst, noisy = {}, {}, {}
for side in (64, 96, 128):
    shape = [1, 2, side, side, side]
    group, instance = (session(f"{name}Normalization", shape) for name in ("Group", "Instance"))
    answers = {name: {} for name in ("group", "instance")}
    for value in VALUES:
        air = np.full(shape, value, np.float32)
        for name, one in (("group", group), ("instance", instance)):
            answers[name][value] = float(np.abs(one.run(None, {"x": air})[0]).max())  # the true answer is 0
    nans[side] = [value for value, answer in answers["group"].items() if np.isnan(answer)]
    worst[side] = max(answers["instance"].values())
    x = (1000 + np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    y = x.astype(np.float64)
    y = (y - y.mean((2, 3, 4), keepdims=True)) / np.sqrt(y.var((2, 3, 4), keepdims=True) + 1e-5)
    noisy[side] = [float(np.abs(one.run(None, {"x": x})[0] - y).max()) for one in (group, instance)]
    print(f"{side}^3 of one value, right is 0: GroupNormalization NaN for {nans[side]};"
          f" InstanceNormalization {({value: round(answer, 3) for value, answer in answers['instance'].items()})}")
    print(f"{side}^3 of 1000 +- 1, error: by group {noisy[side][0]:.3g}, by instance {noisy[side][1]:.3g}")

if not all(nans.values()) or worst[128] < 0.5:
    sys.exit("changed: windows of one value are normalised better than stated")
if not all(np.isnan(group) or group > 0.1 for group, _ in noisy.values()) or max(i for _, i in noisy.values()) > 0.02:
    sys.exit("changed: windows with contrast are no longer wrong by group alone")
print("as stated: NaN from GroupNormalization, far from 0 from InstanceNormalization")
PYTHON
