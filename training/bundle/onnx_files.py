"""ONNX files: export from torch, storage of weights as fp16, up-convolutions for int8, and running them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from core.runtime.session import OrtSession
from training.data.archives import FloatArray

OPSET = 18
# Smaller tensors (biases, normalisation) stay float32: nothing to gain.
_SMALLEST_HALF = 1024
# Of a signed byte, alike on both sides of zero.
_LARGEST_BYTE: Final = 127


def fold_normalisation(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode with every batch normalisation folded into the convolution registered before it."""
    folded = copy.deepcopy(model).eval()
    for parent in list(folded.modules()):
        for (before_name, before), (name, child) in pairwise(list(parent.named_children())):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                setattr(parent, before_name, fuse_conv_bn_eval(before, child))
                setattr(parent, name, nn.Identity())
    return folded


def half_weights(model: nn.Module) -> nn.Module:
    """A copy whose convolution and linear weights hold only values that fp16 can store; still float32."""
    rounded = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())
    return rounded


# The free axis of a graph: any number of inputs a batch.
ANY_BATCH: Final[Mapping[int, Any]] = {0: torch.export.Dim("batch", min=1, max=1024)}


def export_graph(
    graph: nn.Module,
    example: torch.Tensor,
    path: Path,
    inputs: str,
    outputs: Sequence[str],
    free: Mapping[int, Any] = ANY_BATCH,
) -> None:
    """Write the graph with its ``free`` axes and its weights as fp16 behind Cast nodes."""
    graph = graph.eval().to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=[inputs],
            output_names=list(outputs),
            opset_version=OPSET,
            dynamic_shapes=(dict(free),),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter returned no program")
    model = program.model_proto
    for branch in branches(model):
        take_weights(branch, model.graph)
    for part in graphs(model):
        store_half(part)
    strip(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def branches(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """What runs or not as an input decides: the branches of every If."""
    found = (attribute for node in model.graph.node if node.op_type == "If" for attribute in node.attribute)
    return [attribute.g for attribute in found]


def graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """The branches of a model, then its own graph: moving the nodes of that one copies the branches in them."""
    return [*branches(model), model.graph]


def take_weights(branch: onnx.GraphProto, graph: onnx.GraphProto) -> None:
    """Move the initialisers of ``graph`` that a branch alone reads into it: ONNX Runtime only lays out a graph's own
    weights as its fast convolutions want them (a U-Net in a branch: 53 instead of 76 ms)."""
    elsewhere = {name for node in graph.node for name in node.input}
    read = {name for node in branch.node for name in node.input} - elsewhere
    for tensor in [tensor for tensor in graph.initializer if tensor.name in read]:
        branch.initializer.append(tensor)
        graph.initializer.remove(tensor)


def as_model(branch: onnx.GraphProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """A branch of ``model`` that computes with nothing but the inputs of its graph, as a graph of its own."""
    own = onnx.GraphProto()
    own.CopyFrom(branch)
    own.input.extend(model.graph.input)
    read = {name for node in branch.node for name in node.input}
    own.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    return helper.make_model(own, opset_imports=model.opset_import, ir_version=model.ir_version)


def put_back(model: onnx.ModelProto, branch: onnx.GraphProto) -> None:
    """Make a graph like that of ``as_model`` the content of ``branch``, its names told from those outside."""
    told = compose.add_prefix(model, f"{branch.name}_", rename_inputs=False)
    branch.CopyFrom(told.graph)
    del branch.input[:]


def store_half(graph: onnx.GraphProto) -> None:
    """Store every large float32 initialiser that fp16 holds without loss as fp16, behind a Cast to float32."""
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _SMALLEST_HALF:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        stored = numpy_helper.from_array(half, f"{name}_fp16")
        graph.initializer.remove(tensor)
        graph.initializer.append(stored)
        casts.append(helper.make_node("Cast", [stored.name], [name], f"{name}_cast", to=TensorProto.FLOAT))
    _put_first(graph, casts)
    kept = [value for value in graph.value_info if not value.name.endswith("_fp16")]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def store_bytes(graph: onnx.GraphProto, convolutions: Collection[str]) -> None:
    """Store the float32 weights of these convolutions as int8, one scale an output channel; they compute in float32.

    Cast and Mul bring them back, which ONNX Runtime does once, when it loads the graph: DequantizeLinear it would leave
    for every run. A weight moves by at most 1/254 of its channel's largest.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    read = {node.input[1] for node in graph.node if node.op_type == "Conv" and node.name in convolutions}
    before = []
    for name in sorted(read & tensors.keys()):
        values = numpy_helper.to_array(tensors[name])
        if values.dtype != np.float32 or values.size < _SMALLEST_HALF:
            continue
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(_LARGEST_BYTE)
        steps, factor, whole = f"{name}_int8", f"{name}_scale", f"{name}_steps"
        graph.initializer.remove(tensors[name])
        graph.initializer.append(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), steps))
        graph.initializer.append(numpy_helper.from_array(scale, factor))
        before.append(helper.make_node("Cast", [steps], [whole], f"{name}_cast", to=TensorProto.FLOAT))
        before.append(helper.make_node("Mul", [whole, factor], [name], f"{name}_mul"))
    _put_first(graph, before)


def _put_first(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *others])


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes for its own debugging: paths and stack traces of the machine it ran on."""
    parts: list[Any] = [model]
    for graph in graphs(model):
        parts += [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]


class OnnxModel:
    """A graph file on the CPU, in the session that serves it: one array in, arrays by name out."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        self._session = OrtSession(path, force_cpu=True, threads=threads)
        (self._input,) = (given.name for given in self._session.inputs)
        self.outputs = [output.name for output in self._session.outputs]

    def run(self, batch: FloatArray) -> dict[str, FloatArray]:
        """One batch."""
        return self._session.run({self._input: batch})

    def run_all(self, inputs: FloatArray, batch: int = 8) -> dict[str, FloatArray]:
        """Any number of inputs, in batches."""
        parts = [self.run(inputs[start : start + batch]) for start in range(0, len(inputs), batch)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}


def largest_difference(graph: nn.Module, path: Path, inputs: FloatArray) -> float:
    """Largest difference between torch and the graph file over all outputs: absolute below 1, relative above."""
    with torch.no_grad():
        expected = graph(torch.from_numpy(inputs))
    expected = expected if isinstance(expected, tuple) else (expected,)
    actual = OnnxModel(path).run(inputs)
    pairs = zip(expected, actual.values(), strict=True)
    return float(max((np.abs(e.numpy() - a) / np.maximum(1, np.abs(a))).max() for e, a in pairs))


def shuffle_pixels(model: onnx.ModelProto) -> None:
    """Make up-convolutions of slices convolutions of single pixels, which int8 has kernels for; in place.

    A transposed convolution whose kernel is its stride gives each pixel a block of its own: a 1x1 convolution to as
    many channels as a block has values, and then those channels moved into place. ONNX Runtime has no transposed
    convolution of int8, so each would go to float and back. Weights must be initialisers.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        weight = numpy_helper.to_array(weights[node.input[1]]) if _fills_blocks(node) else None
        if weight is None or weight.ndim != 4:
            nodes.append(node)
            continue
        old = [weights[name] for name in node.input[1:]]
        replaced, made = _as_convolution(node, weight, numpy_helper.to_array(old[1]))
        nodes += replaced
        for tensor in old:
            model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(made)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _fills_blocks(node: onnx.NodeProto) -> bool:
    """Whether the kernel of a transposed convolution with a bias is a square and its stride."""
    if node.op_type != "ConvTranspose" or len(node.input) != 3:
        return False
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernel, strides = given["kernel_shape"], given["strides"]
    plain = given.get("group", 1) == 1 and not any(given.get("pads", ())) and not any(given.get("output_padding", ()))
    return bool(kernel == strides and len(set(kernel)) == 1 and plain)


def _as_convolution(
    node: onnx.NodeProto, weight: FloatArray, bias: FloatArray
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    inputs, outputs, block, _ = weight.shape
    name = node.output[0]
    flat = weight.transpose(1, 2, 3, 0).reshape(outputs * block**2, inputs, 1, 1)
    made = [
        numpy_helper.from_array(np.ascontiguousarray(flat), f"{name}_flat"),
        numpy_helper.from_array(np.repeat(bias, block**2), f"{name}_flat_bias"),
    ]
    convolution = helper.make_node(
        "Conv", [node.input[0], made[0].name, made[1].name], [f"{name}_blocks"], f"{name}_conv", kernel_shape=[1, 1]
    )
    moved = helper.make_node("DepthToSpace", [f"{name}_blocks"], [name], f"{name}_shuffle", blocksize=block, mode="CRD")
    return [convolution, moved], made
