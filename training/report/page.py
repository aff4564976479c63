"""``README.md`` of the report: every figure with a sentence of what it shows and what it does not."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.contracts.manifest import Metric
from training.evaluation.comparison import Comparison
from training.evaluation.predictions import ClassPredictions
from training.report.curves import Curves
from training.report.distribution import Counts
from training.report.examples import AUGMENTED, PLANES, SEQUENCES
from training.report.paper import TITLE, markdown_table, shown
from training.report.scored import Scored

LINE: Final = 120

_PHANTOM: Final = (
    "The head is synthetic (`training/report/phantom.py`). What may be passed on differs between the data sets, and "
    "one is of doubtful provenance, so no patient's image stands here. Real slices have more in them than this; "
    "`--with-images FOLDER` draws the same figures from your own copy of the data."
)


@dataclass(frozen=True)
class Section:
    """A heading, its figures (file names beside the page) with what each shows, and the text below them."""

    title: str
    images: Mapping[str, str]
    text: str


def page(split: str, sections: Iterable[Section]) -> str:
    """The whole page in Markdown."""
    parts = [
        f"""# Models in figures

Written by `python -m training report`; do not edit. Answers are those of the reference files in `models/` on split
`{split}`, which nothing was trained on. Intervals are 95 %, bootstrap over patients (where unknown: clusters of
near-duplicates). Every figure of a bundle, and its limits, are in its `CARD.md`. Research use only."""
    ]
    for section in sections:
        images = "\n\n".join(f"![{alt}]({name})" for name, alt in section.images.items())
        parts.append("\n\n".join(part for part in (f"## {section.title}", images, wrapped(section.text)) if part))
    return "\n\n".join(parts) + "\n"


def wrapped(text: str) -> str:
    """Markdown whose lines are paragraphs, items or rows, in lines of at most ``LINE`` characters but for the rows."""
    return "\n".join(_wrapped_line(line) for line in text.split("\n"))


def _wrapped_line(line: str) -> str:
    if line.startswith("|"):
        return line
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, LINE, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def distribution_section(image: str, counts: Counts) -> Section:
    """Counts, and which classes come from one source."""
    sources: dict[str, set[str]] = {}
    for found in counts.values():
        for label, source in found:
            sources.setdefault(label, set()).add(source)
    single = [f"{label} ({next(iter(names))})" for label, names in sorted(sources.items()) if len(names) == 1]
    caution = f" {_listed(single)} come from one source each, so the source may give them away." if single else ""
    many = ", ".join(f"{found.total():,} in `{split}`" for split, found in counts.items())
    text = f"Labelled slices as training uses them, without the CT heads in `train`: {many}.{caution}"
    return Section("Class distribution", {image: "slices of each class by source and split"}, text)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def example_sections() -> list[Section]:
    """Sequences and planes, then augmentation."""
    return [
        Section(
            "Sequences and planes",
            {SEQUENCES: "one slice in four sequences", PLANES: "three planes"},
            _PHANTOM,
        ),
        Section(
            "Augmented slices",
            {AUGMENTED: "a slice changed at random as in training"},
            "The phantom's T1 post-contrast slice, prepared as for the classifier, and random changes of the presets "
            "`falx` (ours) and `paper`: only the paper's turns heads upside down. MixUp is not shown.",
        ),
    ]


def curves_section(image: str, runs: Sequence[Curves]) -> Section:
    """What can and cannot be read off the curves."""
    lines = []
    for run in runs:
        last = ", ".join(f"{name.replace('_', ' ')} {run.history[-1][name]:.3f}" for name in run.figures)
        state = f"the run behind `{run.bundle}`" if run.bundle else "a run that is no shipped bundle by itself"
        lines.append(f"- `{run.name}`: {state}; at the end {last}")
    text = (
        "Averaged weights on `val`, from the history of each run's last checkpoint. Losses contain smoothing, teachers "
        "and masks as each run is set up: compare them within a run only.\n\n" + "\n".join(lines)
    )
    return Section("Training curves", {image: "loss and figures on validation"}, text)


def classifier_sections(item: Scored, answers: ClassPredictions, images: Sequence[str]) -> list[Section]:
    """Confusion, ROC and reliability of one classifier; ``images`` are their files in this order."""
    confusion, roc, calibration = images
    return [
        Section(
            f"Confusion, {item.address}",
            {confusion: f"confusion matrix of {item.address}"},
            f"{len(answers.labels)} slices: accuracy {_stated(item, 'accuracy')}, balanced "
            f"{_stated(item, 'balanced_accuracy')}. {_commonest_error(answers)}",
        ),
        Section(
            f"ROC, {item.address}",
            {roc: f"ROC curves of {item.address}, one class against the rest"},
            f"Each class against the rest by its own probability; mean of the areas {_stated(item, 'macro AUC')}. "
            "An area says how slices are ranked, not how many answers are right.",
        ),
        Section(
            f"Reliability, {item.address}",
            {calibration: f"reliability diagram of {item.address}"},
            f"ECE {_stated(item, 'ECE')} (drawing slices again pushes it up, so its interval may lie above it), Brier "
            f"score {_stated(item, 'Brier score')}; the temperature was fitted on `val`. Points above the dotted line "
            "are answers that were right more often than they claimed; bins of few answers scatter.",
        ),
    ]


def _stated(item: Scored, name: str) -> str:
    metric: Metric | None = item.find(name)
    return shown(metric) if metric else "not known"


def _commonest_error(answers: ClassPredictions) -> str:
    names = answers.names.tolist()
    pairs: dict[tuple[str, str], int] = {}
    for truth, answer in zip(answers.labels.tolist(), answers.predicted.tolist(), strict=True):
        if truth != answer:
            pairs[names[truth], names[answer]] = pairs.get((names[truth], names[answer]), 0) + 1
    if not pairs:
        return "No answer was wrong."
    (truth, answer), count = max(pairs.items(), key=lambda pair: pair[1])
    return f"The commonest of its {sum(pairs.values())} errors is {truth} answered as {answer} ({count})."


def masks_section(item: Scored, image: str) -> Section:
    """The phantom's masks and the figures on patients that count instead."""
    text = (
        f"Three axial slices of the phantom, segmented by `{item.address}` from T1, T1 post-contrast and FLAIR. "
        f"Agreement on a drawing is no measurement; these are, on `{item.figures.split}`:\n\n{_dice_table(item)}"
    )
    return Section(f"Masks over FLAIR, {item.address}", {image: f"outline and answer of {item.address}"}, text)


def volume_section(item: Scored) -> Section:
    """The figures that a bundle of volumes states."""
    caution = f"As the manifest states them, on `{item.figures.split}`; mind how few patients there are."
    text = f"{caution}\n\n{_dice_table(item)}" if item.figures.reference else "Not evaluated."
    return Section(f"Volumes, {item.address}", {}, text)


def _dice_table(item: Scored) -> str:
    rows = [
        [metric.name, metric.data_set, f"{metric.count} {metric.count_unit}", shown(metric)]
        for metric in item.figures.reference
        if "Dice" in metric.name and "median" not in metric.name
    ]
    return markdown_table(["figure", "data", "n", "value (95 %)"], rows)


def comparison_section(image: str, table: str, variants: Mapping[str, Comparison], *, has_controls: bool) -> Section:
    """The chart's caution, reference against int8, and table 5.3."""
    lines = [
        f"- `{name}`, reference less int8: accuracy {item.difference:+.4f} ({item.interval[0]:+.4f} to "
        f"{item.interval[1]:+.4f}) on {item.count} slices; McNemar p = {item.test.p_value:.2f}"
        for name, item in variants.items()
    ]
    controls = (
        " Controls see thumbnails and were fitted on `train` (`training controls`); `all empty` is what no tumour "
        "anywhere scores where a pair of empty masks counts 1, which no Dice of ours does."
        if has_controls
        else ""
    )
    text = (
        f"The paper ({TITLE}) names no split, count or interval, so its marks and ours cannot be ranked.{controls}\n\n"
        + ("\n".join(lines) + "\n\n" if lines else "")
        + f"The paper's table 5.3, and what is shipped of the same network; more in [paper.md](../paper.md):\n\n{table}"
    )
    return Section("Comparison", {image: "accuracy and Dice of the paper, the bundles and controls"}, text)
