"""``model.int8.onnx``: static QDQ quantisation for the CPU, kept only where it agrees with the reference."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from core.contracts.manifest import ClassificationPreprocessing, SegmentationPreprocessing
from training.bundle.export import dice_by_threshold
from training.bundle.onnx_files import OnnxModel, as_model, branches, put_back, store_bytes, store_half, strip
from training.bundle.upsampling import shuffle_pixels
from training.config import SequenceDropout
from training.data.archives import FloatArray
from training.data.lgg import LGG_SEQUENCES, lgg_slices, load_lgg
from training.data.outlined import SEQUENCE, load_outlined, outlined_slices
from training.data.slices import load_slices
from training.evaluation.classification import accuracy
from training.evaluation.inputs import OutlinedInput, labelled_inputs, one_by_one, outlined_inputs, pick
from training.networks.second_reader import shows_all
from training.records import INT8_FILE, REFERENCE_FILE, Export, Kind, Quantize
from training.segmentation.task import drop_sequences
from training.volumes.quantize import reads_slices, volume_calibration, volume_comparison, volume_nodes

logger = logging.getLogger(__name__)

# The int8 file may be the CPU's default only if it answers like the reference.
SMALLEST_AGREEMENT = 0.995
LARGEST_DICE_CHANGE = 0.005

CALIBRATION_SLICES = 160
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


def _classifier_calibration(data: Path, record: Export) -> FloatArray:
    train = load_slices(data, "train", ClassificationPreprocessing(size=record.size), record.labels)
    generator = np.random.default_rng(0)
    of_label = [np.flatnonzero(train.labels == label) for label in np.unique(train.labels)]
    share = CALIBRATION_SLICES // len(of_label)
    rows = np.concatenate([generator.choice(r, min(share, len(r)), replace=False) for r in of_label])
    return np.asarray(train.images[np.sort(rows)], np.float32)[:, None] / np.float32(255)


def _segmenter_calibration(data: Path, record: Export) -> FloatArray:
    spec = SegmentationPreprocessing(size=record.size)
    generator = np.random.default_rng(0)
    np.random.seed(0)  # noqa: NPY002  (``drop_sequences`` draws from the global state, as in training)
    parts = []
    for slices, share in ((load_lgg(data, "train", spec), 0.75), (load_outlined(data, "train", spec), 0.25)):
        tumour = np.flatnonzero(slices.has_tumour)
        rows = generator.choice(tumour, min(len(tumour), round(CALIBRATION_SLICES * share)), replace=False)
        for row in np.sort(rows):
            image = np.array(slices.images[row], np.float32) / np.float32(255)
            present = slices.images[row].any(axis=(1, 2))
            shown, single = drop_sequences(present, SequenceDropout(single=0.2, subset=0.2))
            parts.append(
                np.repeat(image[single][None], 4, axis=0) if single is not None else image * shown[:, None, None]
            )
    return np.stack(parts).astype(np.float32)


def float_parts(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes of all parts that convolve channels one by one, and of what reads them but decoders.

    Computed in int8 such a network answers otherwise too often (0.95 of the answers of ``tumor-classifier`` stayed the
    same, and Dice of outlined slices by ``tumor-segmenter`` fell by 0.013, on cores without VNNI), and it has little
    arithmetic to gain by it.
    """
    owners = {tensor.name: found[0] for tensor in model.graph.initializer if (found := _PART.match(tensor.name))}
    grouped = [node for node in model.graph.node if node.op_type == "Conv" and _groups(node) > 1]
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
    apart = set(float_parts(model))
    return all(node.name in apart for node in model.graph.node if node.op_type == "Conv")


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


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
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser logs every node to the root logger
    quantize_static(
        prepared,
        target,
        SliceReader(model.graph.input[0].name, _calibrating(images, attempt.method)),
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


def _calibrating(images: FloatArray, method: CalibrationMethod) -> FloatArray:
    """Those of ``images`` (n, C, s, s) that ranges are taken from, evenly spread."""
    limit = len(images) if method is CalibrationMethod.MinMax else HISTOGRAM_SLICES
    return images[:: -(-len(images) // limit)]


def _classifier_comparison(run: Path, data: Path, record: Export) -> Comparison:
    inputs = labelled_inputs(data, "val", record.size, record.labels)
    predicted = OnnxModel(run / REFERENCE_FILE).run_all(inputs.images)["logits"].argmax(axis=1)

    def compare() -> dict[str, float]:
        int8 = OnnxModel(run / INT8_FILE).run_all(inputs.images)
        answered = int8["logits"].argmax(axis=1)
        return {
            "top1_agreement": float(np.mean(predicted == answered)),
            "accuracy_change": accuracy(answered, inputs.labels) - accuracy(predicted, inputs.labels),
            "accepted_by_distance": float(np.mean(int8["distance"] <= (record.max_distance or 0.0))),
        }

    return compare


def _segmenter_comparison(run: Path, data: Path, record: Export) -> Comparison:
    views = {
        "dice_change": outlined_inputs(lgg_slices(data, "val"), record.size, pick(*LGG_SEQUENCES)),
        "dice_change_outlined": outlined_inputs(one_by_one(outlined_slices(data, "val")), record.size, pick(SEQUENCE)),
    }
    views = {name: inputs for name, inputs in views.items() if inputs}
    threshold = record.threshold or 0.5

    def answer(name: str, inputs: list[OutlinedInput]) -> tuple[float, npt.NDArray[np.bool_]]:
        images = np.stack([item.image for item in inputs])
        probability = OnnxModel(run / name).run_all(images, batch=4)["probability"][:, 0]
        return dice_by_threshold(list(probability), inputs, (threshold,))[threshold], probability >= threshold

    reference = {name: answer(REFERENCE_FILE, inputs) for name, inputs in views.items()}

    def compare() -> dict[str, float]:
        int8 = {name: answer(INT8_FILE, inputs) for name, inputs in views.items()}
        changes = {name: int8[name][0] - reference[name][0] for name in views}
        same = np.concatenate([(int8[name][1] == reference[name][1]).ravel() for name in views])
        return {**changes, "pixel_agreement": float(np.mean(same))}

    return compare


_WAYS: Final[Mapping[Kind, tuple[Callable[[Path, Export], FloatArray], Callable[[Path, Path, Export], Comparison]]]] = {
    "classifier": (_classifier_calibration, _classifier_comparison),
    "segmenter": (_segmenter_calibration, _segmenter_comparison),
    "volume-segmenter": (volume_calibration, volume_comparison),
}


def passes(agreement: Mapping[str, float]) -> bool:
    """Whether the int8 graph may stand in for the reference."""
    if "top1_agreement" in agreement:
        return agreement["top1_agreement"] >= SMALLEST_AGREEMENT
    return _merit(agreement) >= -LARGEST_DICE_CHANGE


def _merit(agreement: Mapping[str, float]) -> float:
    """How many answers stay the same, or, negative, by how much Dice changes where it changes most."""
    if "top1_agreement" in agreement:
        return agreement["top1_agreement"]
    return -max(abs(value) for name, value in agreement.items() if name.startswith("dice_change"))


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
    if record.kind == "volume-segmenter" and not reads_slices(run / REFERENCE_FILE):
        raise NothingToGainError(f"no int8 file is made of {run}: it convolves volumes, where int8 is slower")
    calibration, comparison = _WAYS[record.kind]
    images = calibration(data, record)
    compare = comparison(run, data, record)
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
