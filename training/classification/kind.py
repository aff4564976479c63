"""The classifier of slices, as every step knows it: one label a slice, with several label sets on one graph."""

from __future__ import annotations

from typing import Final

from core.contracts.manifest import ClassificationPreprocessing
from training.classification.evaluate import class_answers, evaluate_classifier
from training.classification.export import calibrate_shared_graph, calibration, comparison, export_classifier
from training.classification.task import ClassifierTask
from training.kinds import Kind
from training.networks.registry import make_classifier
from training.networks.together import AtOwnSize
from training.report.answers import classifier_sections

KIND: Final = Kind(
    name="classifier",
    task="classification",
    bundle_name="tumor-classifier",
    titled="Classifier of single slices ({})",
    worst="the most certain wrong answers, one a patient or cluster",
    labels=lambda config: tuple(config["labels"]),
    network=make_classifier,
    training=lambda config, data, device, origins: ClassifierTask(config, data, device, origins.taught()),
    # Slices are shown at the size that it knows.
    as_teacher=lambda trained: AtOwnSize(trained.model, trained.size),
    preprocessing=lambda export: ClassificationPreprocessing(size=export.size),
    export=export_classifier,
    finish=calibrate_shared_graph,
    calibration=calibration,
    comparison=comparison,
    answers=class_answers,
    evaluate=evaluate_classifier,
    sections=classifier_sections,
)
