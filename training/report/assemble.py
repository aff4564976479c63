"""The whole report: figures and their page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from training.evaluation.controls import Controls
from training.report.chart import draw_comparison, fill, table_5_3
from training.report.curves import draw_curves, read_curves
from training.report.distribution import draw_distribution
from training.report.examples import draw_examples, patient_volume
from training.report.page import page
from training.report.phantom import phantom
from training.report.scored import score_bundles

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
    volume = phantom()
    sections = [draw_distribution(out / CLASSES, data), *draw_examples(out, volume, data)]
    manifests = [item.manifest for item in scored]
    curves = [read for run in runs if (read := read_curves(run, manifests))]
    if curves:
        sections.append(draw_curves(out / CURVES, curves))
    for item in scored:
        sections += item.kind.sections(item, out, volume)
    table = table_5_3(scored)
    sections.append(draw_comparison(out / COMPARISON, scored, _controls(runs, split), split, table))
    (out / PAGE).write_text(page(split, sections))
    if paper is not None:
        paper.write_text(fill(paper.read_text(), table))
    return out / PAGE


def draw_patients(data: Path, models: Path, out: Path, split: str, runs: Sequence[Path] = ()) -> None:
    """The figures that show the phantom, of patients instead; ``out`` is for whoever holds the data.

    Raises FileNotFoundError where the data have no BraTS case with every region, or no such split.
    """
    out.mkdir(parents=True, exist_ok=True)
    draw_examples(out, patient_volume(data), data)
    for item in score_bundles(models, data, split, runs):
        if item.kind.draw_patients:
            item.kind.draw_patients(item, out, data, split)


def _controls(runs: Sequence[Path], split: str) -> Controls | None:
    """The last record of controls on this split among the runs."""
    found = [Controls.read(run) for run in runs if Controls.path(run).exists()]
    return next((record for record in reversed(found) if record.split == split), None)
