"""Several label sets on one graph: for each its logits, temperature, conformal quantile and acceptance thresholds.

The graph of a six-class run answers four-class questions as well: softmax over the logits of the four labels is the
network's probability given that one of them is true. Weights are so stored and loaded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from core.contracts.manifest import Calibration, ClassificationPreprocessing, InputCheck
from core.contracts.tensors import DISTANCE, LOGITS
from training.bundle.onnx_files import OnnxModel
from training.classification.calibration import COVERAGE, calibrate
from training.classification.checked import CheckedInputs, checked_slices, fit_input_check
from training.data.archives import FloatArray
from training.recipe import read_recipe
from training.records import REFERENCE_FILE, Export, Part, Record

# By name of the bundle; the first one of a run holds the files. Runs of other recipes have label sets of their own.
LABEL_SETS: Final[Mapping[str, tuple[str, ...]]] = read_recipe("tumor-classifier").label_sets


class LabelSet(Part):
    """One bundle's view of the graph. ``label_indices``: the logit of each of ``labels``."""

    name: str
    labels: tuple[str, ...]
    label_indices: tuple[int, ...]
    calibration: Calibration
    input_check: InputCheck


class LabelSets(Record):
    """Made by ``export`` where a graph serves more than its own labels: one entry a bundle."""

    sets: tuple[LabelSet, ...]


def calibrate_label_sets(run: Path, data: Path, sets: Mapping[str, tuple[str, ...]] = LABEL_SETS) -> LabelSets:
    """Fit every one of ``sets`` that the exported graph of ``run`` covers, on validation; writes ``labelsets.json``.

    CT heads are left out: they are what the input check must refuse. Raises ValueError where the graph covers no label
    set.
    """
    export = Export.read(run)
    covered = {name: labels for name, labels in sets.items() if set(labels) <= set(export.labels)}
    if not covered:
        raise ValueError(f"{run} knows {', '.join(export.labels)}: that covers no label set")
    inputs = checked_slices(data, "val", ClassificationPreprocessing(size=export.size), export.labels)
    outputs = OnnxModel(run / REFERENCE_FILE).run_all(inputs.images)
    record = LabelSets(
        sets=tuple(
            calibrate_labels(name, labels, tuple(export.labels.index(label) for label in labels), inputs, outputs)
            for name, labels in covered.items()
        )
    )
    record.write(run)
    return record


def calibrate_labels(
    name: str,
    labels: tuple[str, ...],
    indices: tuple[int, ...],
    inputs: CheckedInputs,
    outputs: Mapping[str, FloatArray],
) -> LabelSet:
    """Fit one label set, whose logits are ``indices`` of the graph's, on those of ``inputs`` that have its labels."""
    rows = np.array([row.label in labels for row in inputs.rows])
    logits = outputs[LOGITS][rows][:, indices]
    truth = np.array([labels.index(row.label) for row in inputs.rows if row.label in labels], np.int64)
    temperature, quantile = calibrate(logits, truth, [row.group for row in inputs.rows if row.label in labels])
    return LabelSet(
        name=name,
        labels=labels,
        label_indices=indices,
        calibration=Calibration(
            temperature=temperature,
            temperature_in_graph=False,
            conformal_quantile=quantile,
            coverage=COVERAGE,
        ),
        input_check=fit_input_check(outputs[DISTANCE][rows], inputs.pixels[rows]),
    )
