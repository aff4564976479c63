"""From a run to ``model.onnx``: input size and threshold chosen on validation, calibration, one graph, parity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.contracts.manifest import ClassificationPreprocessing
from training.bundle.graphs import (
    CLASSIFIER_OUTPUTS,
    MULTITASK_OUTPUTS,
    SEGMENTER_OUTPUTS,
    ClassifierGraph,
    FeatureSpace,
    MultiTaskGraph,
    SegmenterGraph,
)
from training.bundle.onnx_files import export_graph, fold_normalisation, half_weights, largest_difference
from training.classification.calibration import (
    COVERAGE,
    acceptance_threshold,
    calibrate,
    conformal_quantile,
    strangeness_of_truth,
)
from training.classification.label_sets import LABEL_SETS, calibrate_label_sets
from training.data.lgg import LGG_SEQUENCES, lgg_slices
from training.data.multisequence import SequenceSlice
from training.data.outlined import SEQUENCE, outlined_slices
from training.data.slices import LABELS, load_slices
from training.evaluation.classification import accuracy
from training.evaluation.inputs import LabelledInputs, OutlinedInput, labelled_inputs, one_by_one, outlined_inputs, pick
from training.evaluation.masks import dice
from training.loop.checkpoints import Trained, load_trained
from training.networks.multitask import MultiTaskClassifier
from training.networks.pooled import Classifier
from training.records import REFERENCE_FILE, Export
from training.volumes.export import THRESHOLDS, export_volume_segmenter

CLASSIFIER_SIZES = (96, 112, 128)
SEGMENTER_SIZES = (128, 160)
# The exported graph must agree with torch to this on every output.
PARITY = 1e-4
# Training slices that the feature space is fitted on.
FEATURE_SLICES = 1024

FLAIR = "flair"


def export_run(run: Path, data: Path, sizes: tuple[int, ...] | None = None) -> Export:
    """Export the last checkpoint of a run; writes ``model.onnx`` and ``export.json`` beside it.

    Raises RuntimeError where the graph and torch differ by more than ``PARITY``.
    """
    trained = load_trained(run)
    if isinstance(trained.model, Classifier):
        record = _export_classifier(trained, trained.model, run, data, sizes or _sizes(trained, CLASSIFIER_SIZES))
    elif trained.kind == "volume-segmenter":
        record = export_volume_segmenter(trained, run, data)
    else:
        record = _export_segmenter(trained, trained.model, run, data, sizes or _sizes(trained, SEGMENTER_SIZES))
    record.write(run)
    if record.parity > PARITY:
        raise RuntimeError(f"the exported graph differs from torch by {record.parity:.2e}, allowed is {PARITY:.0e}")
    if record.kind == "classifier" and _shared(record.labels):
        calibrate_label_sets(run, data)
    return record


def _shared(labels: tuple[str, ...]) -> bool:
    """Whether a classifier of ``labels`` also answers for the four common ones, and no label is in neither set."""
    return set(LABELS) < set(labels) and set(labels) in map(set, LABEL_SETS.values())


def _sizes(trained: Trained, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Candidates for the input size: those around the usual one, or the one size that a run was trained at."""
    last = int(trained.config["schedule"]["phases"][-1]["size"])
    return usual if last in usual else (last,)


@torch.no_grad()
def _run(model: nn.Module, images: np.ndarray, batch: int = 16) -> tuple[np.ndarray, ...]:
    parts = []
    for start in range(0, len(images), batch):
        output = model(torch.from_numpy(images[start : start + batch]))
        parts.append(tuple(o.numpy() for o in (output if isinstance(output, tuple) else (output,))))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _choose_classifier_size(
    model: Classifier, data: Path, labels: tuple[str, ...], sizes: tuple[int, ...]
) -> tuple[dict[int, float], LabelledInputs, np.ndarray]:
    """Validation accuracy by size, and inputs and raw logits at the best; ties go to the smaller, cheaper size."""
    plain = ClassifierGraph(model, 1.0, FeatureSpace.identity(len(labels), model.channels[-1]))
    scores: dict[int, float] = {}
    best: tuple[LabelledInputs, np.ndarray] | None = None
    for size in sorted(sizes):
        inputs = labelled_inputs(data, "val", size, labels)
        logits = _run(plain, inputs.images)[0]
        score = accuracy(logits.argmax(axis=1), inputs.labels)
        if best is None or score > max(scores.values()):
            best = inputs, logits
        scores[size] = score
    if best is None:
        raise ValueError("no size to choose from")
    return scores, *best


def _graph(model: Classifier, temperature: float, space: FeatureSpace) -> ClassifierGraph:
    if isinstance(model, MultiTaskClassifier):
        return MultiTaskGraph(model, temperature, space)
    return ClassifierGraph(model, temperature, space)


def _fit_feature_space(model: Classifier, data: Path, size: int, labels: tuple[str, ...]) -> FeatureSpace:
    train = load_slices(data, "train", ClassificationPreprocessing(size=size), labels)
    step = max(1, len(train.labels) // FEATURE_SLICES)
    images = np.array(train.images[::step], np.float32)[:, None] / np.float32(255)
    graph = ClassifierGraph(model, 1.0, FeatureSpace.identity(len(labels), model.channels[-1]))
    features = _run(graph, images)[CLASSIFIER_OUTPUTS.index("features")]
    return FeatureSpace.fit(features, train.labels[::step], len(labels))


def _export_classifier(trained: Trained, model: Classifier, run: Path, data: Path, sizes: tuple[int, ...]) -> Export:
    labels = trained.labels
    folded = fold_normalisation(model)
    half = half_weights(folded)
    scores, inputs, raw = _choose_classifier_size(half, data, labels, sizes)
    size = inputs.images.shape[-1]
    if _shared(labels):
        # Label sets that share the graph have a temperature each, which the service applies.
        temperature, quantile = 1.0, conformal_quantile(strangeness_of_truth(raw, inputs.labels))
    else:
        temperature, quantile = calibrate(raw, inputs.labels, inputs.groups)
    space = _fit_feature_space(half, data, size, labels)
    graph = _graph(half, temperature, space)
    names = MULTITASK_OUTPUTS if isinstance(graph, MultiTaskGraph) else CLASSIFIER_OUTPUTS
    path = run / REFERENCE_FILE
    export_graph(graph, torch.from_numpy(inputs.images[:2]), path, "image", names)
    outputs = dict(zip(names, _run(graph, inputs.images), strict=True))
    sample = inputs.images[:: max(1, len(inputs.images) // 32)]
    unrounded = ClassifierGraph(model, temperature, space)
    return Export(
        kind="classifier",
        architecture=trained.architecture,
        preset=trained.config.get("preset", "falx"),
        multitask=isinstance(graph, MultiTaskGraph),
        size=size,
        labels=labels,
        parity=largest_difference(graph, path, sample),
        rounding=float(np.abs(_run(unrounded, sample)[0] - _run(graph, sample)[0]).max()),
        images_seen=trained.images_seen,
        sizes={str(candidate): score for candidate, score in scores.items()},
        temperature=temperature,
        conformal_quantile=quantile,
        coverage=COVERAGE,
        max_distance=acceptance_threshold(outputs["distance"]),
        max_energy=acceptance_threshold(outputs["energy"]),
    )


def dice_by_threshold(
    probabilities: list[np.ndarray], inputs: list[OutlinedInput], thresholds: tuple[float, ...]
) -> Mapping[float, float]:
    """Mean volumetric Dice per patient in original pixels for each threshold; probabilities (s, s) a slice."""
    patients: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for item, probability in zip(inputs, probabilities, strict=True):
        restored = item.placement.restore(probability)
        patients.setdefault(item.patient, []).append((restored.ravel(), item.mask.ravel()))
    # Slices of one patient may differ in size.
    volumes = [tuple(map(np.concatenate, zip(*slices, strict=True))) for slices in patients.values()]
    return {t: float(np.mean([dice(found >= t, true) for found, true in volumes])) for t in thresholds}


def _views(lgg: list[SequenceSlice], single: list[SequenceSlice], size: int) -> list[list[OutlinedInput]]:
    """What the one threshold is chosen on, since it has to serve all of it.

    LGG patients with three sequences and with FLAIR alone, and single T1 post-contrast slices.
    """
    views = [
        outlined_inputs(lgg, size, pick(*LGG_SEQUENCES)),
        outlined_inputs(lgg, size, pick(FLAIR)),
        outlined_inputs(single, size, pick(SEQUENCE)),
    ]
    return [view for view in views if view]


def _mean_over_views(graph: nn.Module, views: list[list[OutlinedInput]]) -> Mapping[float, float]:
    """Mean Dice by threshold, every view counting alike."""
    by_view = []
    for inputs in views:
        probabilities = _run(graph, np.stack([item.image for item in inputs]))[0][:, 0]
        by_view.append(dice_by_threshold(list(probabilities), inputs, THRESHOLDS))
    return {t: float(np.mean([scores[t] for scores in by_view])) for t in THRESHOLDS}


def _export_segmenter(trained: Trained, model: nn.Module, run: Path, data: Path, sizes: tuple[int, ...]) -> Export:
    folded = fold_normalisation(model)
    half = half_weights(folded)
    graph = SegmenterGraph(half)
    lgg = list(lgg_slices(data, "val"))
    single = list(one_by_one(outlined_slices(data, "val")))
    scores: dict[int, float] = {}
    thresholds: dict[int, float] = {}
    samples: dict[int, np.ndarray] = {}
    for size in sorted(sizes):
        views = _views(lgg, single, size)
        by_threshold = _mean_over_views(graph, views)
        thresholds[size] = max(by_threshold, key=lambda t: by_threshold[t])
        scores[size] = by_threshold[thresholds[size]]
        samples[size] = np.stack([item.image for item in views[0][:: max(1, len(views[0]) // 16)]])
    size = max(scores, key=lambda candidate: scores[candidate])
    path = run / REFERENCE_FILE
    export_graph(graph, torch.from_numpy(samples[size][:2]), path, "images", SEGMENTER_OUTPUTS)
    exact = _run(SegmenterGraph(model), samples[size])[0]
    return Export(
        kind="segmenter",
        architecture=trained.architecture,
        preset=trained.config.get("preset", "falx"),
        size=size,
        labels=trained.labels,
        parity=largest_difference(graph, path, samples[size]),
        rounding=float(np.abs(exact - _run(graph, samples[size])[0]).max()),
        images_seen=trained.images_seen,
        sizes={str(candidate): score for candidate, score in scores.items()},
        threshold=thresholds[size],
    )
