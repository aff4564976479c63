"""The shipped bundles with their answers and figures on a split, from the cache where nothing has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.contracts.manifest import Manifest, Metric
from core.runtime.bundle import MANIFEST_NAME
from training.data.archives import CACHE_FOLDER
from training.data.own import own_key
from training.data.published import LggTable, SlicesTable
from training.evaluation.evaluate import evaluate_run
from training.evaluation.predictions import ClassPredictions, predictions_path
from training.kinds import Kind, kind_of
from training.records import REFERENCE_FILE, Evaluate

# Raise when the evaluation changes, so that older answers are not read.
_CACHE_VERSION = 1
# What of a manifest the answers and figures follow from.
_DECIDING = {"files", "preprocessing", "labels", "label_indices", "calibration", "threshold"}


@dataclass(frozen=True)
class Scored:
    """A bundle, its figures on one split and the folder that its answers lie in."""

    manifest: Manifest
    home: Path
    figures: Evaluate
    answers: Path

    @property
    def address(self) -> str:
        """NAME/VERSION."""
        return f"{self.manifest.name}/{self.manifest.version}"

    @property
    def stem(self) -> str:
        """What names of its figures begin with."""
        return f"{self.manifest.name}-{self.manifest.version}"

    @property
    def kind(self) -> Kind:
        """Whose answers they are."""
        return kind_of(self.manifest.task)

    def classes(self) -> ClassPredictions:
        """What the reference file of a classifier answered."""
        return ClassPredictions.load(predictions_path(self.answers, self.figures.split))

    def find(self, name: str) -> Metric | None:
        """A figure of the reference file by name, of the first data set that has it."""
        return next((metric for metric in self.figures.reference if metric.name == name), None)

    def stated(self, name: str) -> str:
        """The figure in words."""
        metric = self.find(name)
        return shown(metric) if metric else "not known"


def shown(metric: Metric) -> str:
    """A figure with its interval."""
    interval = f" ({metric.interval[0]:.3f} to {metric.interval[1]:.3f})" if metric.interval else ""
    return f"{metric.value:.3f}{interval}"


def made_from(manifest: Manifest, run: Path) -> bool:
    """Whether the bundle holds the graph that the run exported."""
    graph = run / REFERENCE_FILE
    own = [file.sha256 for file in manifest.files if file.variant == "reference"]
    return graph.exists() and hashlib.sha256(graph.read_bytes()).hexdigest() in own


def score_bundles(models: Path, data: Path, split: str, runs: Sequence[Path] = ()) -> list[Scored]:
    """Every bundle of slices with its answers on the split.

    They are read back from the run that the bundle was made from, where ``evaluate`` left the very figures that the
    manifest states; or from the cache, where graph and data are as they were; else the bundle is scored now. A bundle
    of volumes is taken by the figures of that split that its manifest states.

    Raises FileNotFoundError for data that lack the split, and BundleCorrupt.
    """
    return [_score(path.parent, data, split, runs) for path in sorted(models.glob(f"*/*/{MANIFEST_NAME}"))]


def _score(home: Path, data: Path, split: str, runs: Sequence[Path]) -> Scored:
    manifest = Manifest.model_validate_json((home / MANIFEST_NAME).read_text())
    if not kind_of(manifest.task).scored_by_report:
        stated = tuple(metric for metric in manifest.metrics if metric.split == split)
        return Scored(manifest, home, Evaluate(split=split, reference=stated), home)
    for folder in (place for run in runs if made_from(manifest, run) for place in (run / manifest.name, run)):
        if predictions_path(folder, split).exists() and Evaluate.path(folder).exists():
            figures = Evaluate.read(folder)
            if figures.split == split and figures.reference == manifest.metrics:
                return Scored(manifest, home, figures, folder)
    folder = CACHE_FOLDER / f"answers-{manifest.name}-{split}-{_digest(manifest, data)}"
    figures = Evaluate.read(folder) if Evaluate.path(folder).exists() else evaluate_run(home, data, split, folder)
    return Scored(manifest, home, figures, folder)


def _digest(manifest: Manifest, data: Path) -> str:
    """Changes with the bundle's graphs and with the data."""
    key = {"version": _CACHE_VERSION, "bundle": manifest.model_dump(include=_DECIDING), "own": own_key(data)}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode())
    for table in (SlicesTable, LggTable):
        if table.recognises(data):
            digest.update((data / table.layout).read_bytes())
    return digest.hexdigest()[:12]
