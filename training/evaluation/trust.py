"""How far a bundle's answers can be trusted: input check, calibration, prediction sets and heat maps, measured.

The input check is scored on strange pictures that the caller brings, since none may be part of this project, against
the slices of a split. Nothing is fitted here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from core.contracts.manifest import ClassificationPreprocessing, InputCheck, Manifest, Metric, Variant
from core.contracts.tensors import CAM, DISTANCE, ENERGY, LOGITS
from core.imaging.preparation.input_check import Finding, check_input, total_strangeness
from core.runtime.bundle import load_bundle
from training.bundle.onnx_files import OnnxModel
from training.classification.checked import CheckedInputs, checked_slices
from training.classification.evaluate import answers, prediction_sets
from training.data.archives import FloatArray
from training.data.labelled import read_slices
from training.evaluation.evaluate import View
from training.evaluation.intervals import Rows, averaged, measured
from training.evaluation.pointing import Point, head_centre, hit, randomise_weights, strongest_point
from training.evaluation.rates import area_under_roc, expected_calibration_error
from training.evaluation.strange_pictures import load_pictures
from training.records import Part

# Two thousand draws would take longer than everything else.
RESAMPLES: Final = 500
SLICES: Final = "labelled slices"
STRANGE: Final = "strange pictures"
OUTLINED: Final = "outlined slices"
_measured = partial(measured, resamples=RESAMPLES)
_averaged = partial(averaged, resamples=RESAMPLES)


class Trust(Part):
    """What was measured of one bundle's file. ``strange``: pictures of each kind; ``unreadable``: those left out."""

    bundle: str
    variant: Variant
    sha256: str
    strange: dict[str, int]
    unreadable: tuple[str, ...]
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Scores:
    """The check's answers (n,): its ``score``, and what it is made of."""

    score: FloatArray
    distance: FloatArray
    energy: FloatArray
    pixels: FloatArray
    groups: tuple[str, ...]


def measure_trust(
    folder: Path,
    data: Path,
    strange: Path | None,
    splits: Sequence[str] = ("val", "test"),
    variant: Variant = "reference",
    limit: int | None = None,
) -> Trust:
    """Measure the bundle in ``folder``; with ``limit`` on at most so many slices a split and pictures a kind.

    Raises ValueError for a bundle that is no classifier or lacks the variant, BundleCorrupt.
    """
    bundle = load_bundle(folder)
    files, spec = {file.variant: file for file in bundle.manifest.files}, bundle.manifest.preprocessing
    if variant not in files:
        raise ValueError(f"{folder} has no {variant} file")
    if not isinstance(spec, ClassificationPreprocessing):
        raise ValueError(f"{folder} is no classifier")  # noqa: TRY004  (the type follows from the file's content)
    model = OnnxModel(bundle.file_path(files[variant]))
    reference = bundle.file_path(files["reference"])
    pictures = load_pictures(strange, data, spec, limit)
    thresholds = bundle.manifest.input_check
    odd = None
    if pictures.kinds:
        odd = _scores(pictures.findings, model.run_all(pictures.images), thresholds, pictures.groups)
    metrics: list[Metric] = []
    for split in splits:
        inputs = checked_slices(data, split, spec, bundle.manifest.labels, limit)
        outputs = model.run_all(inputs.images)
        usual = _scores(inputs.findings, outputs, thresholds, inputs.groups)
        metrics += answer_metrics(bundle.manifest, inputs, outputs[LOGITS], split)
        metrics += acceptance_metrics(usual, inputs, split)
        if odd is not None:
            metrics += detection_metrics(usual, odd, pictures.kinds, split)
        metrics += pointing_metrics(bundle.manifest, reference, inputs, outputs[CAM], data, split)
    return Trust(
        bundle=f"{bundle.manifest.name}/{bundle.manifest.version}",
        variant=variant,
        sha256=files[variant].sha256,
        strange={kind: pictures.kinds.count(kind) for kind in sorted(set(pictures.kinds))},
        unreadable=pictures.unreadable,
        metrics=tuple(metrics),
    )


def _scores(
    findings: Sequence[tuple[Finding, ...]],
    outputs: Mapping[str, FloatArray],
    thresholds: InputCheck | None,
    groups: Sequence[str],
) -> Scores:
    distance, energy = outputs[DISTANCE], outputs[ENERGY]
    judged = zip(findings, distance.tolist(), energy.tolist(), strict=True)
    score = np.array([check_input(of_one, thresholds, d, e).score for of_one, d, e in judged], np.float32)
    pixels = np.array([total_strangeness(of_one) for of_one in findings], np.float32)
    return Scores(score, distance, energy, pixels, tuple(groups))


def answer_metrics(manifest: Manifest, inputs: CheckedInputs, logits: FloatArray, split: str) -> list[Metric]:
    """Accuracy, calibration and prediction sets for the manifest's labels; ``logits`` (n, L) of the graph."""
    view = View.calibrated(manifest.labels, manifest.logit_indices, manifest.calibration)
    item = answers(logits, inputs, manifest.labels, view)

    def calibration(rows: Rows) -> dict[str, float]:
        return {"expected calibration error": expected_calibration_error(item.probabilities[rows], item.labels[rows])}

    metrics = _averaged({"accuracy": item.predicted == item.labels}, inputs.groups, SLICES, split)
    metrics += _measured(calibration, inputs.groups, SLICES, split)
    if view.quantile is not None:
        sets = prediction_sets(item, view.quantile)
        held = sets[np.arange(len(sets)), item.labels]
        shares = {"coverage of prediction sets": held, "labels a prediction set": sets.sum(axis=1)}
        metrics += _averaged(shares, inputs.groups, SLICES, split)
    return metrics


def acceptance_metrics(usual: Scores, inputs: CheckedInputs, split: str) -> list[Metric]:
    """Share of the slices that the input check calls in distribution: of all, and by source."""
    accepted, name = usual.score >= 0.5, "accepted by the input check"
    metrics = _averaged({name: accepted}, usual.groups, SLICES, split)
    for source in sorted(set(inputs.sources.tolist())):
        rows = np.flatnonzero(inputs.sources == source)
        groups = [usual.groups[row] for row in rows]
        metrics += _averaged({name: accepted[rows]}, groups, f"slices of {source}", split)
    return metrics


def detection_metrics(usual: Scores, odd: Scores, kinds: Sequence[str], split: str) -> list[Metric]:
    """AUROC and share refused by kind and pooled; pooled also for each part of the score alone."""
    metrics = []
    names = np.array(kinds)
    for kind in (*sorted(set(kinds)), "all"):
        rows = np.flatnonzero((names == kind) | (kind == "all"))
        data_set = f"{STRANGE}: {kind}"
        groups = [odd.groups[row] for row in rows]
        sides = (-usual.score, usual.groups), (-odd.score[rows], groups)
        metrics += _area("AUROC of the input check", data_set, split, *sides)
        metrics += _averaged({"refused by the input check": odd.score[rows] < 0.5}, groups, data_set, split)
    for part in ("distance", "energy", "pixels"):
        one, other = ((getattr(side, part), side.groups) for side in (usual, odd))
        metrics += _area(f"AUROC of the {part} alone", f"{STRANGE}: all", split, one, other)
    return metrics


Side = tuple[FloatArray, Sequence[str]]
"""Strangeness (n,) and groups of one kind of images."""


def _area(name: str, data_set: str, split: str, usual: Side, odd: Side) -> list[Metric]:
    """AUROC with an interval over the groups of both sides; it counts the strange pictures."""
    values, positive = np.concatenate([usual[0], odd[0]]), np.repeat([False, True], [len(usual[0]), len(odd[0])])
    groups = (*(f"usual/{group}" for group in usual[1]), *(f"odd/{group}" for group in odd[1]))

    def figures(rows: Rows) -> dict[str, float]:
        return {name: area_under_roc(values[rows], positive[rows])}

    return _measured(figures, groups, data_set, split, "pictures", {name: len(odd[0])})


def pointing_metrics(
    manifest: Manifest, graph: Path, inputs: CheckedInputs, maps: FloatArray, data: Path, split: str
) -> list[Metric]:
    """The pointing game for the map of the true label, ``maps`` (n, L, h', w'), and for its controls.

    ``graph`` is the file that the control with random weights is made of.
    """
    rows = [place for place, row in enumerate(inputs.rows) if row.mask]
    if not rows:
        return []
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / graph.name
        randomise_weights(graph, drawn)
        mixed = OnnxModel(drawn).run_all(inputs.images[rows])[CAM]
    logits = [manifest.logit_indices[label] for label in inputs.labels[rows]]
    placements = [inputs.placements[row] for row in rows]

    def strongest(of_all: FloatArray) -> list[Point | None]:
        shown = zip(of_all, logits, placements, strict=True)
        return [strongest_point(of_one[logit], placement, manifest) for of_one, logit, placement in shown]

    points: Mapping[str, Sequence[Point | None]] = {
        "heat map": strongest(maps[rows]),
        "control: centre of the head": [head_centre(placement) for placement in placements],
        "control: random weights": strongest(mixed),
    }
    shown = read_slices(data, [inputs.rows[row] for row in rows])
    masks = [item.mask for item in shown if item.mask is not None]
    groups = [inputs.groups[row] for row in rows]
    metrics = []
    for name, found in points.items():
        hits = [hit(point, mask) for point, mask in zip(found, masks, strict=True)]
        inside, near = zip(*hits, strict=True)
        shares = {f"pointing game, within 15 px ({name})": near, f"pointing game, inside ({name})": inside}
        metrics += _averaged(shares, groups, OUTLINED, split)
    return metrics
