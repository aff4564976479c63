"""A volume segmenter's graph files: thresholds and smallest piece of tumour chosen on validation; and in int8.

ONNX Runtime convolves volumes of int8 more slowly than those of float32, but slices in half their time: int8 is for
networks whose graph convolves slices alone (docs/adr/0020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from core.contracts.manifest import VolumePreprocessing
from core.contracts.regions import ENHANCING
from core.contracts.tensors import TENSORS
from core.imaging.preparation.volume_transforms import VolumeSpec
from core.imaging.region_labels import clean_labels, label_nested, remove_small
from core.runtime.sliding import BLOCK
from training.bundle.export import THRESHOLDS, differences
from training.bundle.graphs import ColumnGraph, SegmenterGraph
from training.bundle.onnx_files import export_graph, fold_normalisation, half_weights
from training.bundle.quantize import Comparison
from training.config import VolumeSegmenterConfig
from training.data.archives import BoolArray, FloatArray
from training.data.scans import REGIONS, prepared, scans
from training.evaluation.masks import dice
from training.loop.checkpoints import Trained
from training.networks.slices_in_volume import SlicesInVolume
from training.records import INT8_FILE, REFERENCE_FILE, Export
from training.volumes.evaluate import OperatingPoint, views_of, volume_answers, without_specks
from training.volumes.inputs import preprocessing_of, preprocessing_of_export, scan_input
from training.volumes.predictions import named
from training.volumes.task import centre_of, cut_block, shown_sequences
from training.volumes.validated import validated_dice

# Axes of a column that are free: two in plane, in whole blocks, and the one along it, in halves of a window.
_IN_PLANE: Final = (2, 3)
_ALONG_COLUMN: Final = 4
# Where no validation scan knows a region.
USUAL_THRESHOLD: Final = 0.5
SMALLEST_ML: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
SMALLEST_ENHANCING_ML: Final = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Answer:
    """One scan in one view on its own grid: ``probabilities`` float16 and ``true`` bool, both (r, i, j, k)."""

    probabilities: npt.NDArray[np.float16]
    true: BoolArray
    voxel_ml: float


def validation_answers(model: nn.Module, point: OperatingPoint, data: Path) -> list[Answer]:
    """Every validation scan in every view, for the regions that it knows."""

    @torch.no_grad()
    def forward(windows: FloatArray) -> FloatArray:
        return np.asarray(model(torch.from_numpy(windows)).numpy())

    answers = []
    for scan in scans(data, "val"):
        labelled = scan.read()
        for names in views_of(labelled.sequences).values():
            item = scan_input(labelled, names, point.preprocessing)
            probabilities = point.probabilities(forward, item.tensor)[: len(labelled.regions)]
            restored = np.stack([item.space.restore(p).astype(np.float16) for p in probabilities])
            answers.append(Answer(restored, labelled.regions, item.space.source.voxel_mm3 / 1000))
    return answers


def mean_dice(answers: Sequence[Answer], region: int, threshold: float, smallest_ml: float = 0.0) -> float:
    """Mean over the answers that know the region, which must be some."""
    scores = []
    for answer in answers:
        if region < len(answer.true):
            mask = answer.probabilities[region] > threshold
            cleaned = without_specks(mask, smallest_ml, answer.voxel_ml) if smallest_ml else mask
            scores.append(dice(cleaned, answer.true[region]))
    return float(np.mean(scores))


def choose_thresholds(answers: Sequence[Answer]) -> tuple[float, ...]:
    """For each region the one with the best mean Dice."""
    chosen = [USUAL_THRESHOLD] * len(REGIONS)
    for region in range(max(len(answer.true) for answer in answers)):
        scores = {threshold: mean_dice(answers, region, threshold) for threshold in THRESHOLDS}
        chosen[region] = max(scores, key=scores.__getitem__)
    return tuple(chosen)


def choose_smallest(answers: Sequence[Answer], threshold: float) -> dict[float, float]:
    """Mean Dice of the whole tumour for each least volume in ml of a piece that is kept."""
    return {smallest: mean_dice(answers, 0, threshold, smallest) for smallest in SMALLEST_ML}


def choose_enhancing(
    answers: Sequence[Answer], thresholds: Sequence[float], smallest_component_ml: float
) -> dict[float, float]:
    """Mean Dice of what enhances for each volume below which it counts as core; empty where no scan knows it.

    Where a scan has none and none is left, its Dice is 1.
    """
    known = [answer for answer in answers if len(answer.true) == len(REGIONS)]
    scores: dict[float, list[float]] = {least: [] for least in SMALLEST_ENHANCING_ML if known}
    for answer in known:
        pairs = zip(answer.probabilities, thresholds, strict=True)
        labels = label_nested((p > threshold for p, threshold in pairs), answer.true.shape[1:])
        voxel_mm3 = 1000 * answer.voxel_ml
        cleaned = remove_small(labels, 1000 * smallest_component_ml, voxel_mm3).labels
        for least, values in scores.items():
            found = clean_labels(cleaned, voxel_mm3, 0.0, 1000 * least).labels == ENHANCING
            values.append(dice(found, answer.true[-1]))
    return {least: float(np.mean(values)) for least, values in scores.items()}


def served_graph(network: nn.Module, preprocessing: VolumePreprocessing) -> nn.Module:
    """The network as its file runs it: on windows, or on columns of them."""
    if isinstance(network, SlicesInVolume):
        i, j, k = preprocessing.window
        return ColumnGraph(network, (i, j, k))
    return SegmenterGraph(network)


def write_graph(graph: nn.Module, preprocessing: VolumePreprocessing, path: Path) -> None:
    """The graph as a file; free is the number of windows, by themselves or in a column."""
    example = torch.zeros(_several(preprocessing))
    if not preprocessing.columns:
        export_graph(graph, example, path, *TENSORS["volume-segmentation"])
        return
    halves = torch.export.Dim("halves", min=2, max=1024)
    free = {_ALONG_COLUMN: preprocessing.window[-1] // 2 * halves}
    for axis, side in zip(_IN_PLANE, preprocessing.window, strict=False):
        # Of a window of two blocks none can be left out: as many are on either side.
        if side > 2 * BLOCK:
            free[axis] = BLOCK * torch.export.Dim(f"blocks_{axis}", min=2, max=side // BLOCK)
    export_graph(graph, example, path, *TENSORS["volume-segmentation"], free)


def _several(preprocessing: VolumePreprocessing) -> tuple[int, ...]:
    """Shape of the input that shows two windows: more than one, so that the exporter leaves their number free."""
    i, j, k = preprocessing.window
    channels = len(preprocessing.sequences)
    return (1, channels, i, j, k + k // 2) if preprocessing.columns else (2, channels, i, j, k)


def _example(data: Path, point: OperatingPoint) -> FloatArray:
    """Two windows of a validation scan, that parity is measured on."""
    (scan, *_) = scans(data, "val")
    labelled = scan.read()
    tensor = scan_input(labelled, tuple(labelled.sequences), point.preprocessing).tensor
    count, _, *(i, j, k) = _several(point.preprocessing)
    sides = np.array([i, j, k])
    return np.stack([cut_block(tensor, sides // 2 + number * (sides // 4), (i, j, k)) for number in range(count)])


def export_volume_segmenter(trained: Trained, run: Path, data: Path) -> Export:
    """Write ``model.onnx``; the record of what was chosen. Raises ValueError where there is no validation scan."""
    preprocessing = preprocessing_of(trained.config)
    side = preprocessing.window[-1]
    undecided = OperatingPoint(preprocessing, trained.labels, (USUAL_THRESHOLD,) * len(trained.labels), 0.0)
    if not scans(data, "val"):
        raise ValueError(f"{data} has no scan of split val to choose thresholds on")
    folded = fold_normalisation(trained.model)
    graph = served_graph(half_weights(folded), preprocessing).eval()
    windows = _example(data, undecided)
    path = run / REFERENCE_FILE
    write_graph(graph, preprocessing, path)
    answers = validation_answers(graph, undecided, data)
    thresholds = choose_thresholds(answers)
    by_smallest = choose_smallest(answers, thresholds[0])
    smallest = max(by_smallest, key=lambda size: by_smallest[size])
    by_enhancing = choose_enhancing(answers, thresholds, smallest)
    least_enhancing = max(by_enhancing, key=by_enhancing.__getitem__, default=0.0)
    point = OperatingPoint(preprocessing, trained.labels, thresholds, smallest, least_enhancing)
    return Export(
        **trained.about(),
        size=side,
        **differences(graph, served_graph(folded, preprocessing), path, windows),
        sizes={str(side): by_smallest[smallest]},
        volume=preprocessing,
        thresholds=thresholds,
        smallest_component_ml=smallest,
        smallest_enhancing_ml=least_enhancing,
        validated_dice=validated_dice(path, point, data),
    )


# Windows, each with tumour or not as in training; 16 slices each.
CALIBRATION_WINDOWS: Final = 24


def calibration(data: Path, record: Export) -> FloatArray:
    """Windows (n, 4, i, j, k) of training scans, with the sequences that training shows."""
    preprocessing = preprocessing_of_export(record)
    spec = VolumeSpec.of(preprocessing)
    dropout = VolumeSegmenterConfig().dropout
    i, j, k = preprocessing.window
    np.random.seed(0)  # noqa: NPY002  (patches are drawn from the global state, as in training)
    found = [prepared(scan, spec) for scan in scans(data, "train")]
    windows = []
    for index in np.random.permutation(np.arange(CALIBRATION_WINDOWS) % len(found)):  # noqa: NPY002
        scan = found[index]
        block = cut_block(scan.images, centre_of(scan, (i, j, k), 1.0), (i, j, k))
        shown = shown_sequences(scan.present, dropout)
        windows.append(block.astype(np.float32) / np.float32(255) * shown[:, None, None, None])
    return np.stack(windows).astype(np.float32)


def comparison(run: Path, data: Path, record: Export) -> Comparison:
    """Mean whole-tumour Dice on validation, both graphs at the reference's operating point, every view counted."""
    least = record.smallest_component_ml, record.smallest_enhancing_ml
    point = OperatingPoint(preprocessing_of_export(record), record.labels, record.thresholds or (), *least)

    def mean_dice(name: str) -> float:
        found = volume_answers(run / name, point, ((scan, scan.read()) for scan in scans(data, "val")), views_of)
        whole = np.char.startswith(found.views, f"{named(record.labels[0])},")
        return float(found.only(whole).dice.mean())

    reference = mean_dice(REFERENCE_FILE)

    def compare() -> dict[str, float]:
        return {"dice_change": mean_dice(INT8_FILE) - reference}

    return compare
