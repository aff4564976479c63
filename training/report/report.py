"""The whole report: figures and their page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core.contracts.manifest import Variant
from training.evaluation.comparison import Comparison, compare
from training.evaluation.controls import Controls
from training.evaluation.predictions import ClassPredictions, predictions_path
from training.report.answers import draw_confusion, draw_reliability, draw_roc
from training.report.comparison import accuracy_rows, dice_rows, draw_comparison
from training.report.curves import draw_curves, read_curves
from training.report.distribution import draw_distribution
from training.report.examples import (
    answered,
    classifier_presets,
    draw_examples,
    patient_slices,
    patient_volume,
    phantom_slices,
)
from training.report.page import (
    Section,
    classifier_sections,
    comparison_section,
    curves_section,
    distribution_section,
    example_sections,
    masks_section,
    page,
    volume_section,
)
from training.report.paper import fill, table_5_3
from training.report.phantom import phantom
from training.report.pictures import draw_masks
from training.report.scored import Scored, score_bundles

PAGE: Final = "README.md"
CLASSES: Final = "classes.png"
CURVES: Final = "curves.png"
COMPARISON: Final = "comparison.png"


def write_report(
    data: Path, models: Path, out: Path, split: str, runs: Sequence[Path] = (), paper: Path | None = None
) -> Path:
    """Score the bundles in ``models`` and write every figure and the page into ``out``; the page's path.

    ``runs``: folders whose training curves are drawn, which hold ``controls.json`` of the split, or what ``evaluate``
    left of a bundle's graph. In ``paper``, a Markdown file, table 5.3 is written between its marks. No patient's image
    is drawn.

    Raises FileNotFoundError for data without the split, BundleCorrupt, and ValueError for a paper without the marks.
    """
    out.mkdir(parents=True, exist_ok=True)
    scored = score_bundles(models, data, split, runs)
    sections = [distribution_section(CLASSES, draw_distribution(out / CLASSES, data))]
    volume = phantom()
    draw_examples(out, volume, classifier_presets(data))
    sections += example_sections()
    sections += _curves(out, runs, scored)
    for item in scored:
        if item.manifest.task == "classification":
            sections += _classifier(out, item)
        elif item.manifest.task == "segmentation":
            image = f"{_stem(item)}-masks.png"
            draw_masks(out / image, answered(item, phantom_slices(volume)))
            sections.append(masks_section(item, image))
        else:
            sections.append(volume_section(item))
    table = table_5_3(scored)
    sections.append(_comparison(out, scored, runs, split, table))
    (out / PAGE).write_text(page(split, sections))
    if paper is not None:
        paper.write_text(fill(paper.read_text(), table))
    return out / PAGE


def draw_patients(data: Path, models: Path, out: Path, split: str, runs: Sequence[Path] = ()) -> None:
    """The figures that show the phantom, of patients instead; ``out`` is for whoever holds the data.

    Raises FileNotFoundError where the data have no BraTS case with every region, or no such split.
    """
    out.mkdir(parents=True, exist_ok=True)
    draw_examples(out, patient_volume(data), classifier_presets(data))
    for item in score_bundles(models, data, split, runs):
        if item.manifest.task == "segmentation":
            draw_masks(out / f"{_stem(item)}-masks.png", answered(item, patient_slices(item, data, split)))


def _stem(item: Scored) -> str:
    return f"{item.manifest.name}-{item.manifest.version}"


def _curves(out: Path, runs: Sequence[Path], scored: Sequence[Scored]) -> list[Section]:
    manifests = [item.manifest for item in scored]
    curves = [read for run in runs if (read := read_curves(run, manifests))]
    if not curves:
        return []
    draw_curves(out / CURVES, curves)
    return [curves_section(CURVES, curves)]


def _classifier(out: Path, item: Scored) -> list[Section]:
    answers = item.classes()
    images = []
    for name, draw in (("confusion", draw_confusion), ("roc", draw_roc), ("reliability", draw_reliability)):
        images.append(f"{_stem(item)}-{name}.png")
        draw(out / images[-1], answers)
    return classifier_sections(item, answers, images)


def _comparison(out: Path, scored: Sequence[Scored], runs: Sequence[Path], split: str, table: str) -> Section:
    controls = _controls(runs, split)
    draw_comparison(out / COMPARISON, accuracy_rows(scored, controls), dice_rows(scored, controls), split)
    variants = {item.address: found for item in scored if (found := _variants(item))}
    return comparison_section(COMPARISON, table, variants, has_controls=controls is not None)


def _controls(runs: Sequence[Path], split: str) -> Controls | None:
    """The last record of controls on this split among the runs."""
    found = [Controls.read(run) for run in runs if Controls.path(run).exists()]
    return next((record for record in reversed(found) if record.split == split), None)


def _variants(item: Scored) -> Comparison | None:
    """Reference against int8, where the bundle is a classifier with both."""
    names: tuple[Variant, ...] = ("reference", "int8")
    paths = [predictions_path(item.answers, item.figures.split, name) for name in names]
    if item.manifest.task != "classification" or not all(path.exists() for path in paths):
        return None
    return compare(ClassPredictions.load(paths[0]), ClassPredictions.load(paths[1]))
