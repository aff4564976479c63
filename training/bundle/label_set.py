"""A label set more on a classifier's graph: a bundle without files, beside the one that holds them."""

from __future__ import annotations

from pathlib import Path

from core.contracts.manifest import ClassificationPreprocessing
from core.runtime.bundle import load_bundle
from training.bundle.bundle import of_label_set, write_bundle
from training.bundle.measured import Measured
from training.bundle.onnx_files import OnnxModel
from training.classification.checked import checked_slices
from training.classification.label_sets import calibrate_labels
from training.evaluation.evaluate import evaluate_run
from training.recipe import read_recipe


def add_label_set(
    name: str, version: str, of: Path, labels: tuple[str, ...], data: Path, split: str, title: str | None = None
) -> Path:
    """Fit ``labels`` of the classifier bundle ``of`` on ``val``, score them on ``split``, write NAME/VERSION beside it.

    Raises ValueError where it is no classifier or lacks a label, BundleCorrupt for a damaged bundle.
    """
    bundle = load_bundle(of)
    whole, spec = bundle.manifest, bundle.manifest.preprocessing
    unknown = [label for label in labels if label not in whole.labels]
    if not isinstance(spec, ClassificationPreprocessing) or unknown or len(set(labels)) < max(2, len(labels)):
        raise ValueError(f"wanted are two or more labels of {of}, each once, of: {', '.join(whole.labels)}")
    indices = tuple(whole.logit_indices[whole.labels.index(label)] for label in labels)
    inputs = checked_slices(data, "val", spec, labels)
    reference = next(file for file in whole.files if file.variant == "reference")
    fitted = calibrate_labels(
        name, labels, indices, inputs, OnnxModel(bundle.file_path(reference)).run_all(inputs.images)
    )
    shared = whole.model_copy(update={"version": version})
    called = title or f"{whole.title}: {', '.join(labels)}"
    home = f"{whole.name}/{whole.version}"
    manifest = of_label_set(fitted, shared, home, called, None)
    measured = Measured.read(of).model_copy(
        update={"split": None, "int8": (), "confusion": (), "failures": (), "further": ()}
    )
    recipe = read_recipe(measured.recipe) if measured.recipe else None
    target = of.absolute().parents[1] / name / version
    write_bundle(target, manifest, measured, recipe)
    scored = evaluate_run(target, data, split)
    manifest = manifest.model_copy(update={"metrics": scored.reference})
    return write_bundle(target, manifest, measured.scored(scored), recipe)
