"""A run folder as bundles: graph files, ``manifest.json``, ``measured.json`` and ``CARD.md`` under NAME/VERSION.

A graph that serves several label sets becomes a bundle for each; the first holds the files, the others name it.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from core.contracts.manifest import (
    BundleFile,
    Calibration,
    ClassificationPreprocessing,
    InputCheck,
    Manifest,
    Metric,
)
from core.runtime.bundle import MANIFEST_NAME, load_bundle
from core.serving.cards import CARD_NAME
from training.bundle.card import model_card
from training.bundle.map_geometry import map_geometry
from training.bundle.measured import Measured
from training.bundle.onnx_files import OnnxModel
from training.classification.checked import checked_slices
from training.classification.label_sets import LabelSet, LabelSets, calibrate_labels
from training.evaluation.evaluate import evaluate_run
from training.kinds import kind_named
from training.networks.registry import title
from training.recipe import Recipe, read_recipe
from training.records import REFERENCE_FILE, Evaluate, Export, Quantize, graph_files, sha256_of
from training.volumes.validated import validated_bundle

# Where no recipe says it.
UNKNOWN_LICENCE: Final = "Unknown: made without a recipe. Ask whoever trained it before you use or pass on its weights."
_Fitted = TypeVar("_Fitted", Calibration, InputCheck)


def _commit() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    answer = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() if answer.returncode == 0 else None


def _files(run: Path, target: Path) -> tuple[BundleFile, ...]:
    """The run's graph files, copied into ``target``."""
    files = []
    for variant, path in graph_files(run).items():
        shutil.copyfile(path, target / path.name)
        known = {"passes_gate", "agreement"}
        compared = Quantize.read(run).model_dump(include=known) if variant == "int8" else {}
        size, digest = path.stat().st_size, sha256_of(path)
        files.append(BundleFile(name=path.name, sha256=digest, variant=variant, size_bytes=size, **compared))
    return tuple(files)


def _part(kind: type[_Fitted], export: Export, key: str) -> _Fitted | None:
    """What an export has of the fields of ``kind``; None where it lacks the one that counts."""
    fields = export.model_dump(include=set(kind.model_fields))
    return None if fields[key] is None else kind.model_validate(fields)


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
        if self.recipe is None:
            return kind_named(export.kind).title({"architecture": export.architecture})
        return self.recipe.bundle.title_of(name, title(export.architecture))


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
    recipe, kind = made.recipe, kind_named(export.kind)
    name = made.name or (recipe.bundle.name if recipe else kind.bundle_name)
    sets = LabelSets.read(run).sets if LabelSets.path(run).exists() else ()
    if label_set is not None:
        sets = tuple(item for item in sets if item.name == label_set)
        if not sets:
            raise ValueError(f"{run} does not cover the label set {label_set}")
    home = f"{sets[0].name if sets else name}/{made.version}"
    (out / home).mkdir(parents=True, exist_ok=True)
    evaluated = _evaluated(figures, export.labels, export, name)
    manifest = Manifest(
        name=name,
        version=made.version,
        task=kind.task,
        architecture=kind.manifest_architecture(export.architecture),
        title=made.title(name, export),
        files=_files(run, out / home),
        preprocessing=kind.preprocessing(export),
        labels=export.labels,
        map_geometry=map_geometry(run / REFERENCE_FILE) if kind.task == "classification" else None,
        calibration=_part(Calibration, export, "temperature"),
        input_check=_part(InputCheck, export, "max_distance"),
        threshold=export.threshold,
        thresholds=export.thresholds,
        smallest_component_ml=export.smallest_component_ml,
        smallest_enhancing_ml=export.smallest_enhancing_ml,
        validated_dice=export.validated_dice,
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
    files = shared.files
    if f"{label_set.name}/{shared.version}" != home:
        files = tuple(file.model_copy(update={"bundle": file.bundle or home}) for file in files)
    return shared.model_copy(
        update={
            "title": title,
            "files": files,
            "metrics": evaluated.reference if evaluated else (),
            **{name: getattr(label_set, name) for name in LabelSet.model_fields},
        }
    )


def add_label_set(
    name: str, version: str, of: Path, labels: tuple[str, ...], data: Path, split: str, title: str | None = None
) -> Path:
    """Fit ``labels`` of the classifier bundle ``of`` on ``val``, score them on ``split``, write NAME/VERSION beside it.

    Raises ValueError where it is no classifier or lacks a label, or where a bundle with weights of its own has the name
    already; BundleCorrupt for a damaged bundle.
    """
    bundle = load_bundle(of)
    whole, spec = bundle.manifest, bundle.manifest.preprocessing
    target = of.absolute().parents[1] / name / version
    if (target / MANIFEST_NAME).exists() and any(file.bundle is None for file in load_bundle(target).manifest.files):
        raise ValueError(f"{name} is a model of its own already: give the label set another name")
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
    write_bundle(target, manifest, measured, recipe)
    scored = evaluate_run(target, data, split)
    manifest = manifest.model_copy(update={"metrics": scored.reference})
    return write_bundle(target, manifest, measured.scored(scored), recipe)


def with_validated_dice(folder: Path, data: Path) -> dict[str, Metric]:
    """Measure ``validated_dice`` of the bundle of volumes in ``folder`` on ``val``, and write manifest and card anew.

    Raises ValueError where it is none of volumes or ``data`` has no scan of ``val``, BundleCorrupt for a damaged one.
    """
    found = validated_bundle(folder, data)
    if not found:
        raise ValueError(f"{data} has no scan of split val")
    measured = Measured.read(folder)
    recipe = read_recipe(measured.recipe) if measured.recipe else None
    manifest = load_bundle(folder).manifest.model_copy(update={"validated_dice": found})
    write_bundle(folder, manifest, measured, recipe)
    return found
