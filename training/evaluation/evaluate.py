"""Figures of exported graphs on a split: of what, a run folder or a shipped bundle, and under which labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.contracts.manifest import Calibration, Manifest, Metric, Preprocessing, Variant
from core.runtime.bundle import MANIFEST_NAME, load_bundle
from training.classification.label_sets import LABEL_SETS, LabelSets
from training.evaluation.mask_figures import mask_failures
from training.evaluation.predictions import MaskPredictions, predictions_path
from training.kinds import Kind, kind_named, kind_of
from training.records import Evaluate, Export, Failure, graph_files

Answers = TypeVar("Answers", bound=MaskPredictions)
# Where the figures of a bundle go by default: its own folder is as shipped.
BUNDLE_RUNS = Path("runs")


@dataclass(frozen=True)
class View:
    """One label set on a classifier's graph.

    ``indices``: the logit of each label, in order; the softmax runs over these alone. ``temperature`` divides the
    graph's logits once more (1: the graph has done it). ``quantile``: a label is in the prediction set when 1 minus
    its probability is at most that; None where it was never fitted for these labels.
    """

    labels: tuple[str, ...]
    indices: tuple[int, ...]
    temperature: float = 1.0
    quantile: float | None = None

    @classmethod
    def calibrated(cls, labels: tuple[str, ...], indices: tuple[int, ...], calibration: Calibration | None) -> View:
        """Labels at the temperature that was fitted for them."""
        if calibration is None:
            return cls(labels, indices)
        return cls(labels, indices, calibration.divisor, calibration.conformal_quantile)

    def restricted(self, label_set: str) -> View:
        """Some of its labels, at its temperature; a quantile that was fitted for other labels promises nothing."""
        labels = LABEL_SETS[label_set]
        if not set(labels) <= set(self.labels):
            raise ValueError(f"{label_set} needs {', '.join(labels)}; the graph knows {', '.join(self.labels)}")
        return View(labels, tuple(self.indices[self.labels.index(label)] for label in labels), self.temperature)


@dataclass(frozen=True)
class Subject:
    """Graph files to score. ``views``: by the folder that its figures go to, first what the graph itself states.

    ``thresholds``: the probability from which a pixel or voxel belongs to a region, one a region, of segmenters.
    """

    kind: Kind
    preprocessing: Preprocessing
    files: Mapping[Variant, Path]
    views: Mapping[Path, View]
    thresholds: tuple[float, ...]
    smallest_component_ml: float
    smallest_enhancing_ml: float

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label of any view."""
        return tuple(dict.fromkeys(label for view in self.views.values() for label in view.labels))


def _thresholds(record: Export | Manifest) -> tuple[float, ...]:
    return record.thresholds or (record.threshold or 0.5,) * len(record.labels)


def subject_of(folder: Path, out: Path | None = None, label_set: str | None = None) -> Subject:
    """The run or bundle in ``folder``; figures go to ``out``, by default the run itself or ``runs/NAME-VERSION``.

    A run has a view for its own labels and, each in a folder of its name, one for every calibrated label set. With
    ``label_set``, a key of ``LABEL_SETS``, that is the only view, calibrated or not.

    Raises FileNotFoundError for a run that was not exported, BundleCorrupt for a damaged bundle, ValueError for a
    label set that is unknown or that the graph does not cover.
    """
    if label_set is not None and label_set not in LABEL_SETS:
        raise ValueError(f"{label_set!r} is no label set: there are {', '.join(LABEL_SETS)}")
    if (folder / MANIFEST_NAME).exists():
        return _bundle(folder, out, label_set)
    return _run(folder, out or folder, label_set)


def _run(run: Path, out: Path, label_set: str | None) -> Subject:
    export = Export.read(run)
    kind = kind_named(export.kind)
    files = graph_files(run)
    own = View(export.labels, tuple(range(len(export.labels))), quantile=export.conformal_quantile)
    sets = LabelSets.read(run).sets if LabelSets.path(run).exists() else ()
    views = {out: own} | {
        out / item.name: View.calibrated(item.labels, item.label_indices, item.calibration) for item in sets
    }
    if label_set is not None:
        views = {out / label_set: views.get(out / label_set) or own.restricted(label_set)}
    least = export.smallest_component_ml, export.smallest_enhancing_ml
    return Subject(kind, kind.preprocessing(export), files, views, _thresholds(export), *least)


def _bundle(folder: Path, out: Path | None, label_set: str | None) -> Subject:
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    target = out or BUNDLE_RUNS / f"{manifest.name}-{manifest.version}"
    view = View.calibrated(manifest.labels, manifest.logit_indices, manifest.calibration)
    if label_set is not None and LABEL_SETS[label_set] != view.labels:
        target, view = target / label_set, view.restricted(label_set)
    files = {file.variant: bundle.file_path(file) for file in manifest.files}
    views = {target: view}
    kind, preprocessing = kind_of(manifest.task), manifest.preprocessing
    least = manifest.smallest_component_ml, manifest.smallest_enhancing_ml
    return Subject(kind, preprocessing, files, views, _thresholds(manifest), *least)


def evaluate_run(run: Path, data: Path, split: str, out: Path | None = None, label_set: str | None = None) -> Evaluate:
    """Score every graph file of a run folder or of a shipped bundle; the figures under its own labels.

    Writes into ``out`` (by default the run itself, ``runs/NAME-VERSION`` for a bundle) ``evaluate.json`` and, so that
    comparisons and reports need no second pass, the answers themselves: ``predictions-SPLIT.npz`` and, for int8,
    ``predictions-SPLIT.int8.npz``. A run whose graph serves several label sets is scored under each of them, in the
    folder ``out``/NAME. ``label_set`` scores, and returns, that one alone: the softmax then runs over its logits.

    Raises FileNotFoundError for a run that was not exported or data that lack the split, BundleCorrupt, and ValueError
    for a label set that the graph does not cover.
    """
    subject = subject_of(run, out, label_set)
    return subject.kind.evaluate(subject, data, split)


def evaluate_masks(
    subject: Subject,
    split: str,
    answer: Callable[[Path], Answers],
    figures_of: Callable[[Answers, str], list[Metric]],
) -> Evaluate:
    """Score the masks that ``answer`` draws with each file of a segmenter."""
    (folder,) = subject.views
    folder.mkdir(parents=True, exist_ok=True)
    answers = {variant: answer(path) for variant, path in subject.files.items()}
    for variant, item in answers.items():
        item.save(predictions_path(folder, split, variant))
    figures = {variant: tuple(figures_of(item, split)) for variant, item in answers.items()}
    return write_figures(folder, split, figures, mask_failures(answers["reference"]))


def write_figures(
    folder: Path,
    split: str,
    figures: Mapping[Variant, tuple[Metric, ...]],
    failures: tuple[Failure, ...],
    confusion: tuple[tuple[int, ...], ...] = (),
) -> Evaluate:
    """Write ``evaluate.json`` into ``folder``."""
    reference, int8 = figures["reference"], figures.get("int8", ())
    result = Evaluate(split=split, reference=reference, int8=int8, confusion=confusion, failures=failures)
    result.write(folder)
    return result
