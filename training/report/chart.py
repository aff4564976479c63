"""Every model on one chart: what the paper claims, the shipped bundles, and what trivial methods reach.

"Brain Tumor Classification and Segmentation Using Deep Learning" (Jain, Jadhav, Pandit) names no test split, no number
of images and no interval for any of its figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from core.contracts.manifest import Metric, Variant
from training.evaluation.controls import Controls
from training.evaluation.intervals import Comparison, compare
from training.evaluation.predictions import ClassPredictions, predictions_path
from training.markdown import markdown_table
from training.report.page import Section
from training.report.scored import Scored, shown
from training.report.style import BLUE, GREY, RED, figure, legend

TITLE: Final = "Brain Tumor Classification and Segmentation Using Deep Learning (Jain, Jadhav, Pandit)"
# Around the table in docs/paper.md that a report fills.
BEGIN: Final = "<!-- table 5.3: written by `python -m training report` -->"
END: Final = "<!-- end of table 5.3 -->"


# What the paper claims: accuracies by network, and other figures by what they are and where they stand.
TABLE_5_3: Final = {"EfficientNetB0": 0.913, "ResNet50V2": 0.935, "InceptionV3": 0.921, "DenseNet121": 0.938}
ACCURACY_IN_TEXT: Final = {"accuracy, text": 0.94, "accuracy, text, another place": 0.9908}
DICE_IN_TEXT: Final = {
    "Dice, text": 0.88,
    "Dice, necrotic core, text": 0.390,
    "Dice, oedema, text": 0.688,
    "Dice, enhancing, text": 0.653,
}
# Architectures of manifests to set beside each network of table 5.3.
OURS: Final = {
    "EfficientNetB0": {"efficientnet-b0"},
    # The paper uses both names for one network.
    "ResNet50V2": {"resnet50v2", "resnet50"},
    "InceptionV3": {"inception-v3"},
    "DenseNet121": {"densenet121"},
}


def table_5_3(scored: Sequence[Scored]) -> str:
    """Accuracies of the paper's table 5.3, shipped classifiers of the same network beside them, the others below."""
    rows = []
    left = [item for item in scored if item.find("accuracy")]
    others = [item for item in left if not _networks(item) & set().union(*OURS.values())]
    for network, claimed in TABLE_5_3.items():
        stated = [network, f"{claimed:.3f}"]
        ours = [[*stated, *_beside(item)] for item in left if _networks(item) & OURS[network]]
        rows += ours or [[*stated, "none shipped", "", "", "", ""]]
    rows += [["none of the above", "", *_beside(item)] for item in others]
    header = ["network in the paper", "its accuracy", "here", "accuracy (95 %)", "balanced (95 %)", "split", "n"]
    return markdown_table(header, rows)


def _networks(item: Scored) -> set[str]:
    """What a bundle holds, alone or side by side."""
    return set(item.manifest.architecture.split("+"))


def _beside(item: Scored) -> list[str]:
    accuracy, balanced = item.find("accuracy"), item.find("balanced_accuracy")
    assert accuracy is not None
    return [
        f"{item.address} ({item.manifest.architecture}), {len(item.manifest.labels)} classes",
        shown(accuracy),
        shown(balanced) if balanced else "",
        f"`{accuracy.split}`, {accuracy.data_set}",
        f"{accuracy.count} {accuracy.count_unit}",
    ]


def fill(text: str, table: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """The text with ``table`` between two marks. Raises ValueError where one is missing."""
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        what = marks[0].removeprefix("<!-- ").partition(":")[0]
        raise ValueError(f"no place for {what}: expected {marks[0]} and {marks[1]}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


Origin = Literal["paper", "bundle", "control"]

_LOOKS: Final[dict[Origin, tuple[str, str, str]]] = {
    "paper": ("the paper (split not stated)", RED, "D"),
    "bundle": ("shipped here", BLUE, "o"),
    "control": ("control without a network", GREY, "s"),
}
# Of a segmenter's figures those that are compared, by how each begins.
_DICE: Final = ("volumetric Dice a patient, mean", "Dice on tumour slices")


@dataclass(frozen=True)
class Row:
    """One mark of the chart."""

    name: str
    value: float
    interval: tuple[float, float] | None
    kind: Origin


def _claimed(claims: Mapping[str, float]) -> list[Row]:
    """The paper gives no interval."""
    return [Row(name, value, None, "paper") for name, value in claims.items()]


def accuracy_rows(scored: Sequence[Scored], controls: Controls | None) -> list[Row]:
    """Accuracies; controls only of a label set that a bundle has."""
    rows = _claimed({f"{network}, table 5.3": value for network, value in TABLE_5_3.items()} | ACCURACY_IN_TEXT)
    for item in scored:
        for variant, metrics in (("reference", item.figures.reference), ("int8", item.figures.int8)):
            metric = next((metric for metric in metrics if metric.name == "accuracy"), None)
            if metric is not None:
                rows.append(Row(f"{item.address}, {variant}", metric.value, metric.interval, "bundle"))
    sizes = {len(item.manifest.labels) for item in scored if item.manifest.task == "classification"}
    for control in controls.classification if controls else ():
        if len(control.labels) in sizes:
            metric = next(metric for metric in control.metrics if metric.name == "accuracy")
            many = f", {len(control.labels)} classes" if len(sizes) > 1 else ""
            rows.append(Row(f"{control.name}{many}", metric.value, metric.interval, "control"))
    return rows


def dice_rows(scored: Sequence[Scored], controls: Controls | None) -> list[Row]:
    """Dice: of patients where slices make a volume, else of slices with tumour; by data set and what was shown."""
    rows = _claimed(DICE_IN_TEXT)
    for item in scored:
        if item.manifest.task != "classification":
            bundle = item.manifest.name.removeprefix("tumor-")
            for metric in _dice(item):
                rows.append(Row(f"{bundle}: {_dice_name(metric)}", metric.value, metric.interval, "bundle"))
    for control in controls.segmentation if controls else ():
        for metric in control.metrics:
            # Where empty pairs count 1: why no figure here is of that kind.
            if metric.name.startswith("Dice of all slices"):
                name = f"{control.name}, {metric.data_set}, any slice"
                rows.append(Row(name, metric.value, metric.interval, "control"))
    return rows


def _dice(item: Scored) -> Iterator[Metric]:
    """Of each data set one kind of Dice, the volumetric one where there is one."""
    metrics = [metric for metric in item.figures.reference if "Dice" in metric.name and "median" not in metric.name]
    volumetric = {metric.data_set for metric in metrics if metric.name.startswith(_DICE[0])}
    for metric in metrics:
        if item.manifest.task != "segmentation" or metric.name.startswith(_DICE[metric.data_set not in volumetric]):
            yield metric


def _dice_name(metric: Metric) -> str:
    """Data set and what was shown, or of volumes the figure's own name."""
    _, opened, view = metric.name.partition("(")
    what = view.rstrip(")") if opened else metric.name
    unit = "a patient" if metric.count_unit == "patients" else "a tumour slice"
    return f"{metric.data_set}, {what}, {unit}"


def plot_rows(axes: Any, rows: Sequence[Row]) -> None:
    """One line a row: mark, interval, value."""
    for place, row in enumerate(rows):
        _, colour, marker = _LOOKS[row.kind]
        if row.interval is not None:
            axes.plot(row.interval, (place, place), color=colour, linewidth=2, alpha=0.5, solid_capstyle="butt")
        face = "white" if row.kind == "paper" else colour
        axes.plot(row.value, place, marker=marker, color=colour, markerfacecolor=face, linestyle="none")
        axes.annotate(
            f"{row.value:.3f}",
            (1.015, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=colour,
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))


def draw_comparison(path: Path, scored: Sequence[Scored], controls: Controls | None, split: str, table: str) -> Section:
    """Accuracies above, Dice below; the chart's caution, reference against int8, and table 5.3."""
    _draw(path, {"accuracy": accuracy_rows(scored, controls), "Dice": dice_rows(scored, controls)}, split)
    lines = [
        f"- `{name}`, reference less int8: accuracy {item.difference:+.4f} ({item.interval[0]:+.4f} to "
        f"{item.interval[1]:+.4f}) on {item.count} slices; McNemar p = {item.test.p_value:.2f}"
        for name, item in _variants(scored).items()
    ]
    caution = (
        " Controls see thumbnails and were fitted on `train` (`training controls`); `all empty` is what no tumour "
        "anywhere scores where a pair of empty masks counts 1, which no Dice of ours does."
        if controls
        else ""
    )
    text = (
        f"The paper ({TITLE}) names no split, count or interval, so its marks and ours cannot be ranked.{caution}\n\n"
        + ("\n".join(lines) + "\n\n" if lines else "")
        + f"The paper's table 5.3, and what is shipped of the same network; more in [paper.md](../paper.md):\n\n{table}"
    )
    return Section("Comparison", {path.name: "accuracy and Dice of the paper, the bundles and controls"}, text)


def _variants(scored: Sequence[Scored]) -> dict[str, Comparison]:
    """Reference against int8, of classifiers with both."""
    found = {}
    for item in scored:
        paths = [predictions_path(item.answers, item.figures.split, name) for name in get_args(Variant)]
        if item.find("accuracy") and all(path.exists() for path in paths):
            found[item.address] = compare(*map(ClassPredictions.load, paths))
    return found


def _draw(path: Path, charts: Mapping[str, Sequence[Row]], split: str) -> None:
    parts = {name: rows for name, rows in charts.items() if rows}
    lengths = [len(rows) for rows in parts.values()]
    with figure(path, 9.4, 0.22 * sum(lengths) + 1.7) as drawn:
        column = drawn.subplots(len(parts), 1, squeeze=False, height_ratios=lengths)[:, 0]
        for axes, (name, rows) in zip(column, parts.items(), strict=True):
            plot_rows(axes, rows)
            axes.set_title(f"{name}, ours on the {split} split with 95 % intervals", loc="left")
        entries = {}
        for kind in dict.fromkeys(row.kind for rows in parts.values() for row in rows):
            label, colour, marker = _LOOKS[kind]
            face = "white" if marker == "D" else colour
            entries[label] = {"color": colour, "marker": marker, "linestyle": "none", "markerfacecolor": face}
        legend(drawn, entries)
