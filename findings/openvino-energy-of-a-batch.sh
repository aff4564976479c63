#!/usr/bin/env bash
# The energy of each slice of a batch, ReduceLogSumExp over the classes, comes out of OpenVINO as one value for them all.
#
# Seen with openvino 2026.4.1 (CPU device, float32), models built with onnx 1.23.2, beside onnxruntime 1.32.0.
# Up to operator set 17 a node of ONNX names the axes that it reduces in an attribute. OpenVINO takes that attribute for
# ReduceMean, ReduceMax and ReduceSumSquare, and passes over it for ReduceLogSumExp, ReduceLogSum and ReduceL1: those are
# reduced over everything, the batch included, and a result declared as (n,) has the shape (). There is no error and no
# warning. With the axes as an input, as operator set 18 has them, it is right. A model with one slice at a time gives
# the right number in the wrong shape, so trying one image shows nothing.
# It matters because log-sum-exp over the logits is the usual score of whether a slice is like those that a classifier
# was trained on, and exporters still write set 17: a photograph passes in the company of familiar slices.
set -euo pipefail

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
{ python3 -m venv "$tmp/venv" &&
    "$tmp/venv/bin/pip" install --quiet --disable-pip-version-check \
        openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6; } ||
    { echo "the packages cannot be installed here" >&2; exit 2; }

"$tmp/venv/bin/python" - "$tmp" <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

BATCH, CLASSES = 3, 4
LOGITS = (np.arange(BATCH * CLASSES, dtype=np.float32).reshape(BATCH, CLASSES) + 1) / 10
RIGHT = {
    "ReduceLogSumExp": np.log(np.exp(LOGITS).sum(axis=1)),
    "ReduceLogSum": np.log(LOGITS.sum(axis=1)),
    "ReduceL1": np.abs(LOGITS).sum(axis=1),
    "ReduceMean": LOGITS.mean(axis=1),
    "ReduceMax": LOGITS.max(axis=1),
    "ReduceSumSquare": (LOGITS**2).sum(axis=1),
}


def both(name, operators):
    """Both answers of one node that reduces the classes, its axes an attribute (set 17) or an input (set 18)."""
    own = {"axes": [1]} if operators == 17 else {}
    axes = [] if operators == 17 else [numpy_helper.from_array(np.array([1]), "axes")]
    node = helper.make_node(name, ["logits", *(one.name for one in axes)], ["score"], keepdims=0, **own)
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, shape)
        for end, shape in (("logits", ["n", CLASSES]), ("score", ["n"]))
    ]
    graph = helper.make_graph([node], "energy", ends[:1], ends[1:], axes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", operators)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path = f"{sys.argv[1]}/{name}-{operators}.onnx"
    onnx.save(model, path)
    theirs = openvino.Core().compile_model(path, "CPU")([LOGITS])[0]
    ours = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"logits": LOGITS})[0]
    return np.asarray(theirs), ours


def right(value, name):
    return value.shape == (BATCH,) and np.allclose(value, RIGHT[name], rtol=1e-5)


wrong = {17: set(), 18: set()}
for operators in wrong:
    for name in RIGHT:
        openvinos, onnxruntimes = both(name, operators)
        print(f"{name}, set {operators}: onnxruntime {onnxruntimes.round(4)}, openvino {openvinos.round(4)}", end="")
        print(f" of shape {openvinos.shape}")
        if not right(onnxruntimes, name):
            sys.exit(f"changed: onnxruntime was right on {name} of set {operators}")
        if not right(openvinos, name):
            wrong[operators].add(name)

expected = {17: {"ReduceLogSumExp", "ReduceLogSum", "ReduceL1"}, 18: set()}
if wrong != expected:
    print(f"changed: {wrong}; expected OpenVINO to be wrong on {expected}")
    sys.exit(1)
print("as stated: three reductions take no notice of axes in an attribute, and mix the slices of a batch")
PYTHON
