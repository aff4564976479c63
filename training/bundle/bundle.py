"""A run folder as bundles: graph files, ``manifest.json`` and ``CARD.md`` under NAME/VERSION.

A graph that serves several label sets becomes a bundle for each; the first holds the files, the others name it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
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
from training.bundle.card import model_card
from training.bundle.cost import cpu_ms, sides_of
from training.bundle.map_geometry import map_geometry
from training.classification.label_sets import LabelSet, LabelSets
from training.networks.registry import title
from training.records import INT8_FILE, REFERENCE_FILE, Evaluate, Export, KindName, Quantize

NAMES: Final[Mapping[KindName, str]] = {
    "classifier": "tumor-classifier",
    "segmenter": "tumor-segmenter",
    "volume-segmenter": "tumor-volume",
}
TASKS: Final[Mapping[KindName, Task]] = {
    "classifier": "classification",
    "segmenter": "segmentation",
    "volume-segmenter": "volume-segmentation",
}
# A region whose mean Dice on held-out scans stays below this is said to be unreliable in every answer.
USEFUL_DICE: Final = 0.5
TITLES: Final[Mapping[KindName, str]] = {
    "classifier": "Brain tumour classifier for single MR slices ({})",
    "segmenter": "Brain tumour segmenter for single MR slices ({})",
    "volume-segmenter": "Brain tumour segmenter for MR volumes ({})",
}
SET_TITLES: Final = {
    "tumor-classifier-6": "Brain tumour classifier for single MR slices, six classes ({})",
}
# What runs were made of before their records said so.
_USUAL: Final[Mapping[KindName, str]] = {
    "classifier": "resnet50",
    "segmenter": "unet",
    "volume-segmenter": "slices-in-volume",
}
ARCHITECTURES: Final[Mapping[KindName, str]] = {
    "classifier": "resnet50",
    "segmenter": "unet-16-256",
    "volume-segmenter": "slices-in-volume",
}
DATA_SETS: Final[Mapping[KindName, tuple[str, ...]]] = {
    "classifier": (
        "Cheng 2017, brain tumor dataset (Figshare), CC BY 4.0",
        "Sartaj et al., brain tumor classification (Kaggle), no-tumour slices, CC0/MIT as their pages say",
        "Nickparvar, brain tumor MRI dataset (Kaggle), no-tumour slices, CC0/MIT as their pages say",
        "Feltrin, brain tumor MRI images 44 classes (Kaggle), provenance doubtful, research only",
    ),
    "segmenter": (
        "TCGA-LGG (images CC BY 3.0; masks Buda et al., CC BY-NC-SA 4.0)",
        "Cheng 2017, brain tumor dataset (Figshare), CC BY 4.0",
        "BraTS 2021, five cases (Menze 2015, Bakas 2017, Baid 2021), CC BY 4.0",
        "Heads without tumour: Sartaj et al. and Nickparvar (Kaggle, CC0/MIT as their pages say), Feltrin (Kaggle, "
        "provenance doubtful, research only)",
    ),
    "volume-segmenter": (
        "TCGA-LGG (images CC BY 3.0; masks Buda et al., CC BY-NC-SA 4.0)",
        "BraTS 2021, six cases, two of them held out (Menze 2015, Bakas 2017, Baid 2021), CC BY 4.0",
    ),
}
# What a network had learnt from before it came here.
_START_DATA: Final[Mapping[str, str]] = {
    "efficientnet-lite0": "ImageNet, by way of the published EfficientNet-Lite0 (weights Apache-2.0)",
    "efficientnet-lite2": "ImageNet, by way of the published EfficientNet-Lite2 (weights Apache-2.0)",
}
_ON_ENCODER: Final = "-unet"
_ENCODER_DATA: Final = "Labels that its encoder learnt first: the data of `tumor-classifier`"
LICENCES: Final[Mapping[KindName, str]] = {
    "classifier": "Weights: research use only, under the terms of the data sets named above. Code: Apache-2.0.",
    "segmenter": "Weights: CC BY-NC-SA 4.0, as the LGG masks demand; research use only. Code: Apache-2.0.",
    "volume-segmenter": "Weights: CC BY-NC-SA 4.0, as the LGG masks demand; research use only. Code: Apache-2.0.",
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


def _evaluated(run: Path, labels: tuple[str, ...], export: Export, name: str) -> Evaluate | None:
    """Figures for just these labels: of ``run/NAME``, or of the run where the labels are its own."""
    own = run / name
    if Evaluate.path(own).exists():
        return Evaluate.read(own)
    return Evaluate.read(run) if labels == export.labels and Evaluate.path(run).exists() else None


def _write(
    target: Path,
    manifest: Manifest,
    run: Path,
    export: Export,
    evaluated: Evaluate | None,
    costs: Mapping[str, float],
) -> Path:
    (target / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n")
    quantized = Quantize.read(run) if (run / INT8_FILE).exists() else None
    (target / "CARD.md").write_text(model_card(manifest, export, quantized, evaluated, costs))
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


def _start_data(export: Export) -> list[str]:
    """Of each of its networks, what it began with; an encoder of one learnt labels before it outlined anything."""
    networks = (export.architecture or "").split("+")
    names = [name.removesuffix(_ON_ENCODER) for name in networks]
    found = [_START_DATA[name] for name in dict.fromkeys(names) if name in _START_DATA]
    taught = any(name in _START_DATA and name != network for name, network in zip(names, networks, strict=True))
    return [*found, _ENCODER_DATA] if taught else found


def _network(export: Export) -> str:
    """The network's name as people write it."""
    return title(export.architecture or _USUAL[export.kind])


def _architecture(export: Export) -> str:
    """The network's name in manifests; of the usual ones with their widths."""
    usual = export.architecture in (None, _USUAL[export.kind])
    return ARCHITECTURES[export.kind] if usual else str(export.architecture)


def bundle_run(run: Path, out: Path, version: str = "1", label_set: str | None = None) -> tuple[Path, ...]:
    """Write every bundle of an exported run, or that of one label set, into ``out``/NAME/VERSION; their folders.

    Figures only where evaluated. Raises ValueError for a label set that the graph does not cover.
    """
    export = Export.read(run)
    name = NAMES[export.kind]
    sets = LabelSets.read(run).sets if LabelSets.path(run).exists() else ()
    if label_set is not None:
        sets = tuple(item for item in sets if item.name == label_set)
        if not sets:
            raise ValueError(f"{run} does not cover the label set {label_set}")
    home = sets[0].name if sets else name
    target = out / home / version
    target.mkdir(parents=True, exist_ok=True)
    evaluated = _evaluated(run, export.labels, export, name)
    task = TASKS[export.kind]
    manifest = Manifest(
        name=name,
        version=version,
        task=task,
        architecture=_architecture(export),
        title=TITLES[export.kind].format(_network(export)),
        files=_files(run, target),
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
        data_sets=(*DATA_SETS[export.kind], *_start_data(export)),
        licence=LICENCES[export.kind],
        training_commit=_commit(),
    )
    costs = cpu_ms([run / file.name for file in manifest.files], sides_of(export))
    if not sets:
        return (_write(target, manifest, run, export, evaluated, costs),)
    return tuple(_bundle_set(item, manifest, f"{home}/{version}", run, out, export, costs) for item in sets)


def _bundle_set(
    label_set: LabelSet,
    shared: Manifest,
    home: str,
    run: Path,
    out: Path,
    export: Export,
    costs: Mapping[str, float],
) -> Path:
    """Write the bundle of one label set, which differs from ``shared`` in what the set says and where its files are."""
    address = f"{label_set.name}/{shared.version}"
    target = out / address
    target.mkdir(parents=True, exist_ok=True)
    evaluated = _evaluated(run, label_set.labels, export, label_set.name)
    manifest = shared.model_copy(
        update={
            "name": label_set.name,
            "title": SET_TITLES.get(label_set.name, TITLES[export.kind]).format(_network(export)),
            "files": shared.files
            if address == home
            else tuple(file.model_copy(update={"bundle": home}) for file in shared.files),
            "labels": label_set.labels,
            "label_indices": label_set.label_indices,
            "calibration": label_set.calibration,
            "input_check": label_set.input_check,
            "metrics": evaluated.reference if evaluated else (),
        }
    )
    described = export.model_copy(
        update={
            "labels": label_set.labels,
            "temperature": label_set.calibration.temperature,
            "conformal_quantile": label_set.calibration.conformal_quantile,
            "coverage": label_set.calibration.coverage,
            "max_distance": label_set.input_check.max_distance,
            "max_energy": label_set.input_check.max_energy,
        }
    )
    # Copies are not validated by themselves.
    return _write(target, Manifest.model_validate(manifest.model_dump()), run, described, evaluated, costs)
