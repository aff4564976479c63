"""A classifier's graph files: input size and calibration from validation, feature space from training; and in int8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from core.contracts.manifest import ClassificationPreprocessing
from core.contracts.tensors import DISTANCE, ENERGY, FEATURES, IMAGE, LOGITS, PROBABILITY, TENSORS
from training.bundle.export import candidate_sizes, differences, run_batches
from training.bundle.graphs import ClassifierGraph, FeatureSpace
from training.bundle.onnx_files import OnnxModel, export_graph, fold_normalisation, half_weights
from training.bundle.quantize import Comparison
from training.classification.calibration import (
    COVERAGE,
    acceptance_threshold,
    calibrate,
    conformal_quantile,
    strangeness_of_truth,
)
from training.classification.label_sets import LABEL_SETS, calibrate_label_sets
from training.data.archives import FloatArray
from training.data.labelled import LABELS, load_slices
from training.evaluation.inputs import LabelledInputs, labelled_inputs
from training.evaluation.rates import accuracy
from training.loop.checkpoints import Trained
from training.networks.classifiers import Classifier, MultiTaskClassifier
from training.records import INT8_FILE, REFERENCE_FILE, Export

SIZES: Final = (96, 112, 128)
OUTPUTS: Final = TENSORS["classification"].outputs
# Training slices that the feature space is fitted on.
FEATURE_SLICES: Final = 1024


def shares_its_graph(labels: tuple[str, ...]) -> bool:
    """Whether a classifier of ``labels`` also answers for the four common ones, and no label is in neither set."""
    return set(LABELS) < set(labels) and set(labels) in map(set, LABEL_SETS.values())


def _choose_size(
    plain: ClassifierGraph, data: Path, labels: tuple[str, ...], sizes: Sequence[int]
) -> tuple[dict[int, float], LabelledInputs, np.ndarray]:
    """Validation accuracy by size, and inputs and raw logits at the best; ties go to the smaller, cheaper size."""
    found = {size: labelled_inputs(data, "val", size, labels) for size in sorted(sizes)}
    logits = {size: run_batches(plain, inputs.images)[0] for size, inputs in found.items()}
    scores = {size: accuracy(logits[size].argmax(axis=1), inputs.labels) for size, inputs in found.items()}
    size = max(scores, key=scores.__getitem__)
    return scores, found[size], logits[size]


def _fit_feature_space(plain: ClassifierGraph, data: Path, size: int, labels: tuple[str, ...]) -> FeatureSpace:
    train = load_slices(data, "train", ClassificationPreprocessing(size=size), labels)
    step = max(1, len(train.labels) // FEATURE_SLICES)
    images = np.array(train.images[::step], np.float32)[:, None] / np.float32(255)
    features = run_batches(plain, images)[OUTPUTS.index(FEATURES)]
    return FeatureSpace.fit(features, train.labels[::step], len(labels))


def export_classifier(trained: Trained, run: Path, data: Path, sizes: Sequence[int] | None = None) -> Export:
    """Write ``model.onnx``; the record of what was chosen. Raises TypeError for a network that is no classifier."""
    model, labels = trained.model, trained.labels
    if not isinstance(model, Classifier):
        raise TypeError(f"{run} holds no classifier")
    half = half_weights(fold_normalisation(model))
    plain = ClassifierGraph(half, 1.0, FeatureSpace.identity(len(labels), half.channels[-1]))
    scores, inputs, raw = _choose_size(plain, data, labels, sizes or candidate_sizes(trained, SIZES))
    size = inputs.images.shape[-1]
    if shares_its_graph(labels):
        # Label sets that share the graph have a temperature each, which the service applies.
        temperature, quantile = 1.0, conformal_quantile(strangeness_of_truth(raw, inputs.labels))
    else:
        temperature, quantile = calibrate(raw, inputs.labels, inputs.groups)
    space = _fit_feature_space(plain, data, size, labels)
    multitask = isinstance(half, MultiTaskClassifier)
    graph = ClassifierGraph(half, temperature, space)
    names = (*OUTPUTS, PROBABILITY) if multitask else OUTPUTS
    path = run / REFERENCE_FILE
    export_graph(graph, torch.from_numpy(inputs.images[:2]), path, IMAGE, names)
    outputs = dict(zip(names, run_batches(graph, inputs.images), strict=True))
    sample = inputs.images[:: max(1, len(inputs.images) // 32)]
    return Export(
        **trained.about(),
        multitask=multitask,
        size=size,
        **differences(graph, ClassifierGraph(model, temperature, space), path, sample),
        sizes={str(candidate): score for candidate, score in scores.items()},
        temperature=temperature,
        conformal_quantile=quantile,
        coverage=COVERAGE,
        max_distance=acceptance_threshold(outputs[DISTANCE]),
        max_energy=acceptance_threshold(outputs[ENERGY]),
    )


def calibrate_shared_graph(export: Export, run: Path, data: Path) -> None:
    """Fit every label set of a graph that serves more than its own labels."""
    if shares_its_graph(export.labels):
        calibrate_label_sets(run, data)


CALIBRATION_SLICES: Final = 160


def calibration(data: Path, record: Export) -> FloatArray:
    """Training slices (n, 1, s, s), of every label about as many."""
    train = load_slices(data, "train", ClassificationPreprocessing(size=record.size), record.labels)
    generator = np.random.default_rng(0)
    of_label = [np.flatnonzero(train.labels == label) for label in np.unique(train.labels)]
    share = CALIBRATION_SLICES // len(of_label)
    rows = np.concatenate([generator.choice(r, min(share, len(r)), replace=False) for r in of_label])
    return np.asarray(train.images[np.sort(rows)], np.float32)[:, None] / np.float32(255)


def comparison(run: Path, data: Path, record: Export) -> Comparison:
    """Answers on validation that stay the same, and what that does to accuracy and input check."""
    inputs = labelled_inputs(data, "val", record.size, record.labels)
    predicted = OnnxModel(run / REFERENCE_FILE).run_all(inputs.images)[LOGITS].argmax(axis=1)

    def compare() -> dict[str, float]:
        int8 = OnnxModel(run / INT8_FILE).run_all(inputs.images)
        answered = int8[LOGITS].argmax(axis=1)
        return {
            "top1_agreement": float(np.mean(predicted == answered)),
            "accuracy_change": accuracy(answered, inputs.labels) - accuracy(predicted, inputs.labels),
            "accepted_by_distance": float(np.mean(int8[DISTANCE] <= (record.max_distance or 0.0))),
        }

    return compare
