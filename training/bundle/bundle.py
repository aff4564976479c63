"""A run folder as bundles: graph files, ``manifest.json``, ``measured.json`` and ``CARD.md`` under NAME/VERSION.

A graph that serves several label sets becomes a bundle for each; the first holds the files, the others name it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.contracts.manifest import (
    BundleFile,
    Calibration,
    ClassificationPreprocessing,
    InputCheck,
    Manifest,
    Preprocessing,
    SegmentationPreprocessing,
    Variant,
)
from core.contracts.tensors import Task
from core.runtime.bundle import MANIFEST_NAME
from core.serving.cards import CARD_NAME
from training.bundle.card import model_card
from training.bundle.map_geometry import map_geometry
from training.bundle.measured import Measured
from training.classification.label_sets import LabelSet, LabelSets
from training.networks.registry import title
from training.recipe import Recipe
from training.records import INT8_FILE, REFERENCE_FILE, Evaluate, Export, Kind, Quantize

NAMES: Final[Mapping[Kind, str]] = {
    "classifier": "tumor-classifier",
    "segmenter": "tumor-segmenter",
    "volume-segmenter": "tumor-volume",
}
TASKS: Final[Mapping[Kind, Task]] = {
    "classifier": "classification",
    "segmenter": "segmentation",
    "volume-segmenter": "volume-segmentation",
}
# A region whose mean Dice on held-out scans stays below this is said to be unreliable in every answer.
USEFUL_DICE: Final = 0.5
# Where no recipe gives a bundle its title, its data sets and its licence.
TITLES: Final[Mapping[Kind, str]] = {
    "classifier": "Classifier of single slices ({network})",
    "segmenter": "Segmenter of single slices ({network})",
    "volume-segmenter": "Segmenter of volumes ({network})",
}
UNKNOWN_LICENCE: Final = "Unknown: made without a recipe. Ask whoever trained it before you use or pass on its weights."
# What runs were made of before their records said so.
_USUAL: Final[Mapping[Kind, str]] = {
    "classifier": "resnet50",
    "segmenter": "unet",
    "volume-segmenter": "slices-in-volume",
}
ARCHITECTURES: Final[Mapping[Kind, str]] = {
    "classifier": "resnet50",
    "segmenter": "unet-16-256",
    "volume-segmenter": "slices-in-volume",
}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _bundle_file(path: Path, variant: Variant, quantized: Quantize | None) -> BundleFile:
    return BundleFile(
        name=path.name,
        sha256=_sha256(path),
        variant=variant,
        size_bytes=path.stat().st_size,
        passes_gate=quantized.passes_gate if quantized else True,
        agreement=quantized.agreement if quantized else {},
    )


def _commit() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    answer = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() if answer.returncode == 0 else None


def _files(run: Path, target: Path) -> tuple[BundleFile, ...]:
    shutil.copyfile(run / REFERENCE_FILE, target / REFERENCE_FILE)
    files = [_bundle_file(target / REFERENCE_FILE, "reference", None)]
    if (run / INT8_FILE).exists():
        shutil.copyfile(run / INT8_FILE, target / INT8_FILE)
        files.append(_bundle_file(target / INT8_FILE, "int8", Quantize.read(run)))
    return tuple(files)


def _preprocessing(export: Export) -> Preprocessing:
    if export.volume is not None:
        return export.volume
    if export.kind == "classifier":
        return ClassificationPreprocessing(size=export.size)
    return SegmentationPreprocessing(size=export.size)


def _calibration(export: Export) -> Calibration | None:
    if export.temperature is None:
        return None
    return Calibration(
        temperature=export.temperature, conformal_quantile=export.conformal_quantile, coverage=export.coverage
    )


def _input_check(export: Export) -> InputCheck | None:
    if export.max_distance is None:
        return None
    return InputCheck(max_distance=export.max_distance, max_energy=export.max_energy)


def _evaluated(folder: Path, labels: tuple[str, ...], export: Export, name: str) -> Evaluate | None:
    """Figures for just these labels: of ``folder/NAME``, or of the folder where the labels are the graph's own."""
    own = folder / name
    if Evaluate.path(own).exists():
        return Evaluate.read(own)
    return Evaluate.read(folder) if labels == export.labels and Evaluate.path(folder).exists() else None


def write_bundle(target: Path, manifest: Manifest, measured: Measured, recipe: Recipe | None) -> Path:
    """Manifest, what was measured beside it, and the card, in the folder ``target``; the folder."""
    target.mkdir(parents=True, exist_ok=True)
    # Copies are not validated by themselves.
    valid = Manifest.model_validate(manifest.model_dump())
    (target / MANIFEST_NAME).write_text(valid.model_dump_json(indent=2) + "\n")
    measured.write(target)
    (target / CARD_NAME).write_text(model_card(valid, measured, recipe), encoding="utf-8")
    return target


def caveats(export: Export, evaluated: Evaluate | None) -> tuple[str, ...]:
    """A sentence for each region of volumes whose mean Dice on the scored split is too low for any use."""
    if export.kind != "volume-segmenter" or evaluated is None:
        return ()
    found = []
    for label in export.labels:
        words = label.replace("_", " ")
        scores = [m for m in evaluated.reference if m.name.startswith(f"volumetric Dice a patient, mean ({words},")]
        worst = min(scores, key=lambda metric: metric.value, default=None)
        if worst is not None and worst.value < USEFUL_DICE:
            found.append(
                f"Do not rely on the region {words}: on {worst.count} held-out {worst.count_unit} of {worst.data_set} "
                f"this model reached a mean Dice of {worst.value:.2f}."
            )
    return tuple(found)


def _network(export: Export) -> str:
    """The network's name as people write it."""
    return title(export.architecture or _USUAL[export.kind])


def _architecture(export: Export) -> str:
    """The network's name in manifests; of the usual ones with their widths."""
    usual = export.architecture in (None, _USUAL[export.kind])
    return ARCHITECTURES[export.kind] if usual else str(export.architecture)


@dataclass(frozen=True)
class Made:
    """How a bundle was made. ``name`` and ``version`` are its address where there is no recipe to say so."""

    recipe: Recipe | None = None
    # As ``training.recipe.read_recipe`` takes it.
    source: str | None = None
    name: str | None = None
    version: str = "1"
    # The like of a bundle that cannot be remade.
    equal: bool = False

    def title(self, name: str, export: Export) -> str:
        """The title of the bundle ``name``."""
        network = _network(export)
        if self.recipe is None:
            return TITLES[export.kind].replace("{network}", network)
        return self.recipe.bundle.title_of(name, network)


def bundle_run(
    run: Path, out: Path, made: Made | None = None, label_set: str | None = None, figures: Path | None = None
) -> tuple[Path, ...]:
    """Write every bundle of an exported run, or that of one label set, into ``out``/NAME/VERSION; their folders.

    ``figures`` is the folder that the run was evaluated into, by default the run itself; without an evaluation there
    are none. What is said of data and licence comes from the recipe alone. Raises ValueError for a label set that the
    graph does not cover.
    """
    made, figures = made or Made(), figures or run
    export = Export.read(run)
    recipe = made.recipe
    name = made.name or (recipe.bundle.name if recipe else NAMES[export.kind])
    sets = LabelSets.read(run).sets if LabelSets.path(run).exists() else ()
    if label_set is not None:
        sets = tuple(item for item in sets if item.name == label_set)
        if not sets:
            raise ValueError(f"{run} does not cover the label set {label_set}")
    home = f"{sets[0].name if sets else name}/{made.version}"
    (out / home).mkdir(parents=True, exist_ok=True)
    evaluated = _evaluated(figures, export.labels, export, name)
    task = TASKS[export.kind]
    manifest = Manifest(
        name=name,
        version=made.version,
        task=task,
        architecture=_architecture(export),
        title=made.title(name, export),
        files=_files(run, out / home),
        preprocessing=_preprocessing(export),
        labels=export.labels,
        map_geometry=map_geometry(run / REFERENCE_FILE) if task == "classification" else None,
        calibration=_calibration(export),
        input_check=_input_check(export),
        threshold=export.threshold,
        thresholds=export.thresholds,
        smallest_component_ml=export.smallest_component_ml,
        caveats=caveats(export, evaluated),
        metrics=evaluated.reference if evaluated else (),
        data_sets=tuple(f"{item.name}, {item.licence}" for item in recipe.data) if recipe else (),
        licence=recipe.bundle.licence if recipe else UNKNOWN_LICENCE,
        training_commit=_commit(),
    )
    measured = Measured.of_run(run, export, made.source, equal=made.equal)
    if not sets:
        return (write_bundle(out / home, manifest, measured.scored(evaluated), recipe),)
    written = []
    for item in sets:
        scored = _evaluated(figures, item.labels, export, item.name)
        own = of_label_set(item, manifest, home, made.title(item.name, export), scored)
        written.append(write_bundle(out / item.name / made.version, own, measured.scored(scored), recipe))
    return tuple(written)


def of_label_set(label_set: LabelSet, shared: Manifest, home: str, title: str, evaluated: Evaluate | None) -> Manifest:
    """The manifest of one label set, which differs from ``shared`` in what the set says and where its files are."""
    here = f"{label_set.name}/{shared.version}" == home
    return shared.model_copy(
        update={
            "name": label_set.name,
            "title": title,
            "files": shared.files
            if here
            else tuple(file.model_copy(update={"bundle": file.bundle or home}) for file in shared.files),
            "labels": label_set.labels,
            "label_indices": label_set.label_indices,
            "calibration": label_set.calibration,
            "input_check": label_set.input_check,
            "metrics": evaluated.reference if evaluated else (),
        }
    )
