"""``model.int8.onnx``: static QDQ quantisation for the CPU, kept only where it agrees with the reference."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from training.bundle.onnx_files import as_model, branches, put_back, shuffle_pixels, store_bytes, store_half, strip
from training.data.archives import FloatArray
from training.kinds import kind_named
from training.networks.together import shows_all
from training.records import INT8_FILE, REFERENCE_FILE, Export, Quantize

logger = logging.getLogger(__name__)

# The int8 file may be the CPU's default only if it answers like the reference.
SMALLEST_AGREEMENT = 0.995
LARGEST_DICE_CHANGE = 0.005

# Histograms are made of every activation of all slices at once: 160 of them in three networks are more than 24 GiB.
HISTOGRAM_SLICES = 24
# How the int8 graph that now lies in the run folder compares with the reference on validation.
Comparison = Callable[[], dict[str, float]]

# Only these gain from int8, or stand between two that do; the heads (Gemm, MatMul and what measures distance) stay
# float. Without Relu and Clip every activation would go to float and back.
_QUANTISED_OPERATORS = ("Conv", "Relu", "Clip", "Add", "MaxPool", "Concat", "Slice", "Reshape")
# Of networks side by side, and of an encoder with a decoder, the part of a weight's name that says whose it is.
_PART = re.compile(r"^model\.(?:members\.\d+|(?:first\.)?encoder)\.")
_DECODER = re.compile(r"^model\.(?:first\.)?decoders\.")
# Convolutions to fewer channels are read off or weigh others: they cost next to nothing, and a step of int8 shows.
_FEWEST_CHANNELS = 4
# What computes volumes stays float; what moves their values computes nothing.
_VOLUME_RANK: Final = 5
_MOVES: Final = frozenset({"Concat", "Reshape", "Slice"})


class NothingToGainError(ValueError):
    """A network that int8 makes no faster."""


@dataclass(frozen=True)
class Attempt:
    """One way to quantise: which range estimate, and how many of the first and last convolutions stay float."""

    method: CalibrationMethod
    first: int
    last: int


# Tried in order until one passes: from the fastest graph to the most careful one.
ATTEMPTS = (
    Attempt(CalibrationMethod.MinMax, 0, 1),
    Attempt(CalibrationMethod.MinMax, 1, 1),
    Attempt(CalibrationMethod.Percentile, 1, 1),
    Attempt(CalibrationMethod.MinMax, 1, 4),
    Attempt(CalibrationMethod.MinMax, 4, 10),
)


class SliceReader(CalibrationDataReader):
    """Feeds calibration slices to the quantiser one by one."""

    def __init__(self, name: str, images: FloatArray) -> None:
        self._feeds: Iterator[Mapping[str, FloatArray]] = iter([{name: image[None]} for image in images])

    def get_next(self) -> Any:
        """The next feed, or None at the end."""
        return next(self._feeds, None)


def volume_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that compute volumes, of a graph with inferred shapes; those that move values are no such."""
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*model.graph.value_info, *model.graph.output)
    }
    return [
        node.name
        for node in model.graph.node
        if ranks.get(node.output[0], 0) == _VOLUME_RANK and node.op_type not in _MOVES
    ]


def float_parts(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes of all parts that convolve channels one by one, and of what reads them but decoders.

    Computed in int8 such a network answers otherwise too often (0.95 of the answers of ``tumor-classifier`` stayed the
    same, and Dice of outlined slices by ``tumor-segmenter`` fell by 0.013, on cores without VNNI), and it has little
    arithmetic to gain by it.
    """
    owners = {tensor.name: found[0] for tensor in model.graph.initializer if (found := _PART.match(tensor.name))}
    convolutions = (node for node in model.graph.node if node.op_type == "Conv")
    grouped = [node for node in convolutions if any(given.name == "group" and given.i > 1 for given in node.attribute)]
    apart = {owners[name] for node in grouped for name in node.input if name in owners}
    reached = {name for name, owner in owners.items() if owner in apart}
    names = []
    for node in model.graph.node:
        if reached & set(node.input) and not any(map(_DECODER.match, node.input)):
            reached.update(node.output)
            names.append(node.name)
    return names


def all_float(model: onnx.ModelProto) -> bool:
    """Whether no convolution would be computed in int8."""
    apart = {*float_parts(model), *volume_nodes(model)}
    return all(node.name in apart for node in model.graph.node if node.op_type == "Conv")


def float_nodes(model: onnx.ModelProto, attempt: Attempt) -> list[str]:
    """Names of the nodes that an attempt leaves alone: some convolutions, some parts, and all of volumes."""
    channels = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    volumes = volume_nodes(model)
    parts = float_parts(model)
    alone = {*volumes, *parts}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.name not in alone]
    few = [node.name for node in convolutions if channels.get(node.input[1], _FEWEST_CHANNELS) < _FEWEST_CHANNELS]
    names = [node.name for node in convolutions]
    return [*names[: attempt.first], *names[len(names) - attempt.last :], *few, *parts, *volumes]


def quantise(source: Path, target: Path, images: FloatArray, attempt: Attempt) -> int:
    """Write the int8 graph of ``source``; the number of nodes left in float."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        quantised, left = _quantised(model, images, attempt, Path(folder))
        # The quantiser leaves branches alone: each becomes a graph for it, and a branch again.
        for branch in branches(quantised):
            if any(node.op_type == "Conv" for node in branch.node):
                asked = images[shows_all(torch.from_numpy(images)).numpy()]
                own, more = _quantised(as_model(branch, quantised), asked, attempt, Path(folder))
                put_back(own, branch)
                left += more
    strip(quantised)
    onnx.checker.check_model(quantised)
    onnx.save(quantised, target)
    return left


def _quantised(
    model: onnx.ModelProto, images: FloatArray, attempt: Attempt, folder: Path
) -> tuple[onnx.ModelProto, int]:
    """The int8 graph of a prepared one, but for its branches, and the number of nodes left in float."""
    shuffle_pixels(model)
    model = onnx.shape_inference.infer_shapes(model)
    prepared, target = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, prepared)
    parts = float_parts(model)
    excluded = float_nodes(model, attempt)
    # Ranges are taken from all images, or from some that are evenly spread.
    limit = len(images) if attempt.method is CalibrationMethod.MinMax else HISTOGRAM_SLICES
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser logs every node to the root logger
    quantize_static(
        prepared,
        target,
        SliceReader(model.graph.input[0].name, images[:: -(-len(images) // limit)]),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_QUANTISED_OPERATORS),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        calibrate_method=attempt.method,
    )
    quantised = onnx.load(target)
    store_bytes(quantised.graph, parts)
    store_half(quantised.graph)
    return quantised, len(excluded)


def passes(agreement: Mapping[str, float]) -> bool:
    """Whether the int8 graph may stand in for the reference."""
    return _merit(agreement) >= 0


def _merit(agreement: Mapping[str, float]) -> float:
    """How far the share of answers that stay the same, or else the largest change of Dice, is on the allowed side."""
    if "top1_agreement" in agreement:
        return agreement["top1_agreement"] - SMALLEST_AGREEMENT
    return LARGEST_DICE_CHANGE - max(abs(value) for name, value in agreement.items() if name.startswith("dice_change"))


def quantise_run(run: Path, data: Path, attempts: tuple[Attempt, ...] = ATTEMPTS) -> Quantize:
    """Quantise the exported graph of a run; writes ``model.int8.onnx`` and ``quantize.json``.

    The first attempt that passes is kept, else the one that comes closest, marked as not passing; one by percentiles is
    left out where some layer's outputs hardly vary. Raises NothingToGainError, and leaves no int8 file, for a network
    that would be no faster: one that convolves volumes alone, where int8 is slower than float32 (a third more time for
    a window of 64 voxels), and networks side by side of which every one stays float (``float_parts``).
    """
    record = Export.read(run)
    (run / INT8_FILE).unlink(missing_ok=True)
    if all_float(onnx.load(run / REFERENCE_FILE)):
        raise NothingToGainError(f"no int8 file is made of {run}: every convolution of it would stay float")
    kind = kind_named(record.kind)
    images = kind.calibration(data, record)
    compare = kind.comparison(run, data, record)
    best: tuple[Quantize, bytes] | None = None
    for attempt in attempts:
        try:
            count = quantise(run / REFERENCE_FILE, run / INT8_FILE, images, attempt)
        except ValueError as error:
            # A layer that hardly varies, as in a network that has learnt little, has no histogram to cut.
            if attempt.method is not CalibrationMethod.Percentile:
                raise
            logger.warning("left out the attempt by percentiles: %s", error)
            continue
        agreement = compare()
        result = Quantize(
            passes_gate=passes(agreement), agreement=agreement, float_nodes=count, calibration_images=len(images)
        )
        if best is None or result.passes_gate or _merit(agreement) > _merit(best[0].agreement):
            best = result, (run / INT8_FILE).read_bytes()
        if result.passes_gate:
            break
    if best is None:
        raise ValueError("no attempt to quantise with")
    (run / INT8_FILE).write_bytes(best[1])
    best[0].write(run)
    return best[0]
