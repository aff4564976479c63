"""How far a bundle's answers can be trusted: input check, calibration, prediction sets and heat maps, measured.

The input check is scored on strange pictures that the caller brings, since none may be part of this project, against
the slices of a split. Nothing is fitted here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.special import softmax
from scipy.stats import rankdata

from core.contracts.manifest import BundleFile, ClassificationPreprocessing, InputCheck, Manifest, Metric, Variant
from core.imaging.preparation.input_check import Finding, check_input, total_strangeness
from core.runtime.bundle import Bundle, load_bundle
from training.bundle.onnx_files import OnnxModel
from training.classification.input_check import CheckedInputs, checked_slices
from training.evaluation.intervals import bootstrap_interval
from training.evaluation.pointing import Hit, Point, head_centre, hit, load_masks, randomise_weights, strongest_point
from training.evaluation.probabilities import expected_calibration_error
from training.evaluation.strange_pictures import load_pictures

FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

# Two thousand draws would take longer than everything else.
RESAMPLES = 500
SLICES = "labelled slices"
STRANGE = "strange pictures"
OUTLINED = "outlined slices"


class Trust(BaseModel):
    """What was measured of one bundle's file. ``strange``: pictures of each kind; ``unreadable``: those left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    file, spec = _file(bundle, variant), bundle.manifest.preprocessing
    if not isinstance(spec, ClassificationPreprocessing):
        raise ValueError(f"{folder} is no classifier")  # noqa: TRY004  (the type follows from the file's content)
    model = OnnxModel(bundle.file_path(file))
    reference = bundle.file_path(_file(bundle, "reference"))
    pictures = load_pictures(strange, data, spec, limit)
    outputs = model.run_all(pictures.images) if pictures.kinds else {}
    thresholds = bundle.manifest.input_check
    odd = _scores(pictures.findings, outputs, thresholds, pictures.groups) if pictures.kinds else None
    metrics: list[Metric] = []
    for split in splits:
        inputs = checked_slices(data, split, spec, bundle.manifest.labels, limit)
        outputs = model.run_all(inputs.images)
        usual = _scores(inputs.findings, outputs, thresholds, inputs.groups)
        metrics += answer_metrics(bundle.manifest, inputs, outputs["logits"], split)
        metrics += acceptance_metrics(usual, inputs, split)
        if odd is not None:
            metrics += detection_metrics(usual, odd, pictures.kinds, split)
        metrics += pointing_metrics(bundle.manifest, reference, inputs, outputs["cam"], data, split)
    return Trust(
        bundle=f"{bundle.manifest.name}/{bundle.manifest.version}",
        variant=variant,
        sha256=file.sha256,
        strange={kind: pictures.kinds.count(kind) for kind in sorted(set(pictures.kinds))},
        unreadable=pictures.unreadable,
        metrics=tuple(metrics),
    )


def _file(bundle: Bundle, variant: Variant) -> BundleFile:
    for file in bundle.manifest.files:
        if file.variant == variant:
            return file
    raise ValueError(f"{bundle.path} has no {variant} file")


def _scores(
    findings: Sequence[tuple[Finding, ...]],
    outputs: Mapping[str, FloatArray],
    thresholds: InputCheck | None,
    groups: Sequence[str],
) -> Scores:
    distance, energy = outputs["distance"], outputs["energy"]
    answers = [
        check_input(of_one, thresholds, float(d), float(e))
        for of_one, d, e in zip(findings, distance, energy, strict=True)
    ]
    return Scores(
        np.array([answer.score for answer in answers], np.float32),
        distance,
        energy,
        np.array([total_strangeness(of_one) for of_one in findings], np.float32),
        tuple(groups),
    )


def _metric(
    name: str,
    data_set: str,
    split: str,
    statistic: Callable[[Rows], float],
    groups: Sequence[str],
) -> Metric:
    """``statistic`` of all rows, and its interval over groups."""
    return Metric(
        name=name,
        value=statistic(np.arange(len(groups))),
        data_set=data_set,
        split=split,
        count=len(groups),
        interval=bootstrap_interval(statistic, groups, resamples=RESAMPLES),
    )


def _mean(name: str, data_set: str, split: str, values: npt.ArrayLike, groups: Sequence[str]) -> Metric:
    array = np.asarray(values, np.float64)
    return _metric(name, data_set, split, lambda rows: float(array[rows].mean()), groups)


def answer_metrics(manifest: Manifest, inputs: CheckedInputs, logits: FloatArray, split: str) -> list[Metric]:
    """Accuracy, calibration and prediction sets for the manifest's labels; ``logits`` (n, L) of the graph."""
    calibration = manifest.calibration
    chosen = logits[:, manifest.logit_indices].astype(np.float64)
    probabilities = softmax(chosen / (calibration.divisor if calibration else 1.0), axis=1)
    truth, groups = inputs.labels(manifest.labels), inputs.groups
    metrics = [
        _mean("accuracy", SLICES, split, probabilities.argmax(axis=1) == truth, groups),
        _metric(
            "expected calibration error",
            SLICES,
            split,
            lambda rows: expected_calibration_error(probabilities[rows], truth[rows]),
            groups,
        ),
    ]
    if calibration is not None and calibration.conformal_quantile is not None:
        sets = 1 - probabilities <= calibration.conformal_quantile
        # As the service answers: the likeliest label is always in the set.
        sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
        holds = sets[np.arange(len(sets)), truth]
        metrics.append(_mean("coverage of prediction sets", SLICES, split, holds, groups))
        metrics.append(_mean("labels a prediction set", SLICES, split, sets.sum(axis=1), groups))
    return metrics


def acceptance_metrics(usual: Scores, inputs: CheckedInputs, split: str) -> list[Metric]:
    """Share of the slices that the input check calls in distribution: of all, and by source."""
    accepted = usual.score >= 0.5
    metrics = [_mean("accepted by the input check", SLICES, split, accepted, usual.groups)]
    sources = np.array([row.source for row in inputs.rows])
    for source in sorted(set(sources.tolist())):
        rows = np.flatnonzero(sources == source)
        groups = [usual.groups[row] for row in rows]
        metrics.append(_mean("accepted by the input check", f"slices of {source}", split, accepted[rows], groups))
    return metrics


def area_under_curve(usual: FloatArray, odd: FloatArray) -> float:
    """AUROC of telling ``odd`` (m,) from ``usual`` (n,) by strangeness: the share of pairs in order, ties half.

    NaN where a side is empty.
    """
    if not len(usual) or not len(odd):
        return float("nan")
    ranks = rankdata(np.concatenate([usual, odd]))[len(usual) :]
    return float((ranks.sum() - len(odd) * (len(odd) + 1) / 2) / (len(usual) * len(odd)))


def detection_metrics(usual: Scores, odd: Scores, kinds: Sequence[str], split: str) -> list[Metric]:
    """AUROC and share refused by kind and pooled; pooled also for each part of the score alone."""
    metrics = []
    names = np.array(kinds)
    for kind in (*sorted(set(kinds)), "all"):
        rows = np.flatnonzero((names == kind) | (kind == "all"))
        data_set = f"{STRANGE}: {kind}"
        groups = [odd.groups[row] for row in rows]
        sides = (-usual.score, usual.groups), (-odd.score[rows], groups)
        metrics.append(_area("AUROC of the input check", data_set, split, *sides))
        metrics.append(_mean("refused by the input check", data_set, split, odd.score[rows] < 0.5, groups))
    for part in ("distance", "energy", "pixels"):
        one, other = ((getattr(side, part), side.groups) for side in (usual, odd))
        metrics.append(_area(f"AUROC of the {part} alone", f"{STRANGE}: all", split, one, other))
    return metrics


Side = tuple[FloatArray, Sequence[str]]
"""Strangeness (n,) and groups of one kind of images."""


def _area(name: str, data_set: str, split: str, usual: Side, odd: Side) -> Metric:
    """AUROC with an interval over the groups of both sides; it counts the strange pictures."""
    values, border = np.concatenate([usual[0], odd[0]]), len(usual[0])
    metric = _metric(
        name,
        data_set,
        split,
        lambda rows: area_under_curve(values[rows[rows < border]], values[rows[rows >= border]]),
        (*(f"usual/{group}" for group in usual[1]), *(f"odd/{group}" for group in odd[1])),
    )
    return metric.model_copy(update={"count": len(odd[0]), "count_unit": "pictures"})


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
        mixed = OnnxModel(drawn).run_all(inputs.images[rows])["cam"]
    logits = [manifest.logit_indices[label] for label in inputs.labels(manifest.labels)[rows]]
    placements = [inputs.placements[row] for row in rows]
    points: Mapping[str, Sequence[Point | None]] = {
        "heat map": [
            strongest_point(maps[row, logit], placement, manifest)
            for row, logit, placement in zip(rows, logits, placements, strict=True)
        ],
        "control: centre of the head": [head_centre(placement) for placement in placements],
        "control: random weights": [
            strongest_point(of_one[logit], placement, manifest)
            for of_one, logit, placement in zip(mixed, logits, placements, strict=True)
        ],
    }
    masks = load_masks(data, [inputs.rows[row] for row in rows])
    groups = [inputs.groups[row] for row in rows]
    hits = {name: [hit(p, mask) for p, mask in zip(found, masks, strict=True)] for name, found in points.items()}
    return [metric for name, found in hits.items() for metric in _hit_metrics(name, found, split, groups)]


def _hit_metrics(name: str, hits: Sequence[Hit], split: str, groups: Sequence[str]) -> list[Metric]:
    return [
        _mean(f"pointing game, within 15 px ({name})", OUTLINED, split, [one.near for one in hits], groups),
        _mean(f"pointing game, inside ({name})", OUTLINED, split, [one.inside for one in hits], groups),
    ]
