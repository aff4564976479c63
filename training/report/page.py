"""``README.md`` of the report: sections of figures, each with a sentence of what it shows and what it does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from training.markdown import markdown_table, wrapped
from training.report.scored import Scored, shown


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
near-duplicates). Every figure of a bundle, and its limits, are in its `CARD.md`. The paper's networks, which do not
ship, are [side by side under one budget](networks.md). Research use only."""
    ]
    for section in sections:
        images = "\n\n".join(f"![{alt}]({name})" for name, alt in section.images.items())
        parts.append("\n\n".join(part for part in (f"## {section.title}", images, wrapped(section.text)) if part))
    return "\n\n".join(parts) + "\n"


def volume_section(item: Scored) -> Section:
    """The figures that a bundle of volumes states."""
    caution = f"As the manifest states them, on `{item.figures.split}`; mind how few patients there are."
    text = f"{caution}\n\n{dice_table(item)}" if item.figures.reference else "Not evaluated."
    return Section(f"Volumes, {item.address}", {}, text)


def dice_table(item: Scored) -> str:
    """Every Dice that a bundle states, as a table in Markdown."""
    rows = [
        [metric.name, metric.data_set, f"{metric.count} {metric.count_unit}", shown(metric)]
        for metric in item.figures.reference
        if "Dice" in metric.name and "median" not in metric.name
    ]
    return markdown_table(["figure", "data", "n", "value (95 %)"], rows)
