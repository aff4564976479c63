"""What can be evaluated, a run folder or a shipped bundle, and under which labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from core.contracts.manifest import Manifest, Variant, VolumePreprocessing
from core.runtime.bundle import MANIFEST_NAME, load_bundle
from training.classification.label_sets import LABEL_SETS, LabelSet, LabelSets
from training.evaluation.volumes import OperatingPoint
from training.records import INT8_FILE, REFERENCE_FILE, Export, Kind

# Where the figures of a bundle go by default: its own folder is as shipped.
BUNDLE_RUNS = Path("runs")
_KINDS: Final[Mapping[str, Kind]] = {
    "classification": "classifier",
    "segmentation": "segmenter",
    "volume-segmentation": "volume-segmenter",
}


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


@dataclass(frozen=True)
class Subject:
    """Graph files to score. ``views``: by the folder that its figures go to, first what the graph itself states."""

    kind: Kind
    size: int
    files: Mapping[Variant, Path]
    views: Mapping[Path, View] = field(default_factory=dict)
    # Segmenter alone: probability from which a pixel is tumour.
    threshold: float = 0.5
    # Volume segmenter alone; its ``size`` is the side of a window.
    volume: OperatingPoint | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label of any view."""
        return tuple(dict.fromkeys(label for view in self.views.values() for label in view.labels))


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
    files: dict[Variant, Path] = {"reference": run / REFERENCE_FILE}
    if (run / INT8_FILE).exists():
        files["int8"] = run / INT8_FILE
    own = View(export.labels, tuple(range(len(export.labels))), quantile=export.conformal_quantile)
    views = {out: own} | {out / item.name: _calibrated(item) for item in _label_sets(run)}
    if label_set is not None:
        views = {out / label_set: views.get(out / label_set) or _restricted(own, label_set)}
    volume = None
    if export.volume is not None and export.thresholds is not None:
        volume = OperatingPoint(export.volume, export.labels, export.thresholds, export.smallest_component_ml)
    return Subject(export.kind, export.size, files, views, export.threshold or 0.5, volume)


def _bundle(folder: Path, out: Path | None, label_set: str | None) -> Subject:
    bundle = load_bundle(folder)
    manifest = bundle.manifest
    target = out or BUNDLE_RUNS / f"{manifest.name}-{manifest.version}"
    view = _stated(manifest)
    if label_set is not None and LABEL_SETS[label_set] != view.labels:
        target, view = target / label_set, _restricted(view, label_set)
    preprocessing, volume = manifest.preprocessing, None
    if isinstance(preprocessing, VolumePreprocessing):
        size = preprocessing.window[0]
        thresholds = manifest.thresholds or (0.5,) * len(manifest.labels)
        volume = OperatingPoint(preprocessing, manifest.labels, thresholds, manifest.smallest_component_ml)
    else:
        size = preprocessing.size
    return Subject(
        kind=_KINDS[manifest.task],
        size=size,
        files={file.variant: bundle.file_path(file) for file in manifest.files},
        views={target: view},
        threshold=manifest.threshold or 0.5,
        volume=volume,
    )


def _label_sets(run: Path) -> tuple[LabelSet, ...]:
    return LabelSets.read(run).sets if LabelSets.path(run).exists() else ()


def _calibrated(label_set: LabelSet) -> View:
    calibration = label_set.calibration
    temperature = 1.0 if calibration.temperature_in_graph else calibration.temperature
    return View(label_set.labels, label_set.label_indices, temperature, calibration.conformal_quantile)


def _stated(manifest: Manifest) -> View:
    calibration = manifest.calibration
    if calibration is None:
        return View(manifest.labels, manifest.logit_indices)
    temperature = 1.0 if calibration.temperature_in_graph else calibration.temperature
    return View(manifest.labels, manifest.logit_indices, temperature, calibration.conformal_quantile)


def _restricted(view: View, label_set: str) -> View:
    """Some of a view's labels, at its temperature; a quantile that was fitted for other labels promises nothing."""
    labels = LABEL_SETS[label_set]
    if not set(labels) <= set(view.labels):
        raise ValueError(f"{label_set} needs {', '.join(labels)}; the graph knows {', '.join(view.labels)}")
    return View(labels, tuple(view.indices[view.labels.index(label)] for label in labels), view.temperature)
