"""``README.md`` of the report: sections of figures, each with a sentence of what it shows and what it does not."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from training.report.scored import Scored, shown

LINE: Final = 120


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


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


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
