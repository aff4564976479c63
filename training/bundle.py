"""A run folder as a bundle: graph files, ``manifest.json`` and ``CARD.md`` under NAME/VERSION."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final, Literal

from core.contracts.manifest import (
    BundleFile,
    Calibration,
    ClassificationPreprocessing,
    InputCheck,
    Manifest,
    SegmentationPreprocessing,
    Variant,
)
from training.card import model_card
from training.records import INT8_FILE, REFERENCE_FILE, Evaluate, Export, Quantize

NAMES: Final = {"classifier": "tumor-classifier", "segmenter": "tumor-segmenter"}
TITLES: Final = {
    "classifier": "Brain tumour classifier for single MR slices (ResNet50)",
    "segmenter": "Brain tumour segmenter for single MR slices (U-Net)",
}
ARCHITECTURES: Final = {"classifier": "resnet50", "segmenter": "unet-16-256"}
DATA_SETS: Final = {
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
    ),
}
LICENCES: Final = {
    "classifier": "Weights: research use only, under the terms of the data sets named above. Code: Apache-2.0.",
    "segmenter": "Weights: CC BY-NC-SA 4.0, as the LGG masks demand; research use only. Code: Apache-2.0.",
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


def _preprocessing(export: Export) -> ClassificationPreprocessing | SegmentationPreprocessing:
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


def bundle_run(run: Path, out: Path, version: str = "1") -> Path:
    """Write the bundle of an exported run into ``out``/NAME/VERSION; its folder. Figures only where evaluated."""
    export = Export.read(run)
    evaluated = Evaluate.read(run) if Evaluate.path(run).exists() else None
    name = NAMES[export.kind]
    target = out / name / version
    target.mkdir(parents=True, exist_ok=True)
    task: Literal["classification", "segmentation"] = (
        "classification" if export.kind == "classifier" else "segmentation"
    )
    manifest = Manifest(
        name=name,
        version=version,
        task=task,
        architecture=ARCHITECTURES[export.kind],
        title=TITLES[export.kind],
        files=_files(run, target),
        preprocessing=_preprocessing(export),
        labels=export.labels,
        calibration=_calibration(export),
        input_check=_input_check(export),
        threshold=export.threshold,
        metrics=evaluated.reference if evaluated else (),
        data_sets=DATA_SETS[export.kind],
        licence=LICENCES[export.kind],
        training_commit=_commit(),
    )
    (target / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n")
    quantized = Quantize.read(run) if (run / INT8_FILE).exists() else None
    (target / "CARD.md").write_text(model_card(manifest, export, quantized, evaluated))
    return target
