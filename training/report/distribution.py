"""How many slices of which class, source and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.classification.label_sets import LABEL_SETS
from training.data.archives import read_rows
from training.data.labelled import slice_rows
from training.data.published import LggTable
from training.data.samples import SPLITS
from training.report.page import Section
from training.report.style import GREY, PALETTE, figure

# (label, source) and how many slices, by split.
Counts = Mapping[str, Counter[tuple[str, str]]]

WITH, WITHOUT = "with tumour", "without"


def class_counts(data: Path) -> Counts:
    """Labelled slices as they are used: CT heads are left out of ``train``. Splits that are not there are left out."""
    labels = tuple(dict.fromkeys(label for names in LABEL_SETS.values() for label in names))
    counts = {}
    for split in SPLITS:
        try:
            rows = slice_rows(data, split, labels)
        except ValueError:  # a user's folder need not have every split
            continue
        counts[split] = Counter((row.label, row.source) for row in rows)
    return {split: found for split, found in counts.items() if found}


def outlined_counts(data: Path) -> Counts:
    """Slices of TCGA-LGG with and without tumour; empty where the set is not there."""
    table = data / LggTable.layout
    counts: dict[str, Counter[tuple[str, str]]] = {}
    for row in read_rows(table) if table.exists() else ():
        shown = WITH if int(row["tumor_pixels"]) else WITHOUT
        counts.setdefault(row["split"], Counter())[row["split"], shown] += 1
    return counts


def _plot(axes: Any, counts: Counter[tuple[str, str]], names: list[str], colours: Mapping[str, str]) -> None:
    """Horizontal bars, one a name, stacked by what the second half of each key says; the total at the end."""
    places = range(len(names))
    left = [0] * len(names)
    for part, colour in colours.items():
        values = [counts[name, part] for name in names]
        axes.barh(places, values, left=left, color=colour, label=part, height=0.7)
        left = [start + value for start, value in zip(left, values, strict=True)]
    for place, total in zip(places, left, strict=True):
        axes.annotate(f"{total:,}", (total, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(places, [name.replace("_", " ") for name in names])
    axes.set(xlim=(0, 1.25 * max(left)), xlabel="slices")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def draw_distribution(path: Path, data: Path) -> Section:
    """Classes by source, a panel a split, and below them TCGA-LGG; what is said of them."""
    classes, outlined = class_counts(data), outlined_counts(data)
    names = list(dict.fromkeys(label for counts in classes.values() for label, _ in sorted(counts)))
    sources = sorted({source for counts in classes.values() for _, source in counts})
    colours = {source: PALETTE[index % len(PALETTE)] for index, source in enumerate(sources)}
    with figure(path, 9.2, 4.7 if outlined else 3.0) as drawn:
        upper, *lower = drawn.subfigures(
            2 if outlined else 1, 1, squeeze=False, height_ratios=(3, 1.7)[: 1 + bool(outlined)]
        )[:, 0]
        row = upper.subplots(1, len(classes), sharey=True, squeeze=False)[0]
        for axes, (split, counts) in zip(row, classes.items(), strict=True):
            _plot(axes, counts, names, colours)
            axes.set_title(f"{split}: {counts.total():,} labelled slices")
        if row.size > 1:
            # Shared axes would be turned once by each panel.
            row[0].set_ylim(len(names) - 0.5, -0.5)
        upper.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(sources))
        for part in lower:
            axes = part.subplots()
            every: Counter[tuple[str, str]] = sum(outlined.values(), Counter())
            _plot(axes, every, [split for split in SPLITS if split in outlined], {WITH: PALETTE[5], WITHOUT: GREY})
            axes.set_title("TCGA-LGG: outlined slices")
            axes.legend(loc="lower right")
    return _section(path.name, classes)


def _section(image: str, counts: Counts) -> Section:
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
