"""The comparison as tables, a figure of learning curves and a page, all from ``networks.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from core.contracts.manifest import Metric
from training.comparison.networks import YARDSTICKS, Network, Networks
from training.evaluation.mask_figures import HEALTHY
from training.folds.figures import EVERYTHING, OUTLINES, Difference, Judged
from training.markdown import markdown_table, wrapped
from training.networks.registry import title
from training.report.chart import TABLE_5_3, fill
from training.report.scored import shown
from training.report.style import PALETTE, figure

PAGE: Final = "networks.md"
CURVES: Final = "networks.png"
# Around what is written into docs/paper.md.
MARKS: Final = ("<!-- networks: written by `python -m training compare` -->", "<!-- end of networks -->")
NOT_RUN: Final = (
    "The comparison has not been run at its full budget yet, so there are no figures here. "
    "`python -m training compare` runs it and writes them."
)
_LINES: Final = ("solid", "dashed", "dotted", "dashdot")
# What is drawn of a history, by kind.
_DRAWN: Final = {"classifier": "accuracy", "segmenter": "dice"}


def publish(found: Networks, out: Path, paper: Path | None = None) -> Path:
    """Write JSON, page and figure into ``out``, and the tables between the marks of ``paper``; the page's path.

    Raises ValueError for a paper without the marks.
    """
    out.mkdir(parents=True, exist_ok=True)
    found.write(out)
    draw_curves(out / CURVES, found.networks)
    (out / PAGE).write_text(networks_page(found))
    if paper is not None:
        paper.write_text(fill(paper.read_text(), tables(found), MARKS))
    return out / PAGE


def networks_page(found: Networks | None) -> str:
    """The whole page in Markdown; without a comparison it says that there is none."""
    head = wrapped(
        "The networks that the paper names, each from noise, on the same slices, with the same budget. Written by "
        "`python -m training compare`; do not edit. None of them ships. Research use only."
    )
    body = [tables(found)]
    if found is not None:
        caption = "Figures of the averaged weights on the fold that is held out, as training went on."
        body += [f"![learning curves of every network]({CURVES})", caption]
    return "\n\n".join(["# The paper's networks side by side", head, *body]) + "\n"


def tables(found: Networks | None) -> str:
    """A table for each label set and one of masks, with what they are of."""
    if found is None:
        return wrapped(NOT_RUN)
    trial = "" if found.budget.full else "**This is a trial: the comparison has not been run at its full budget.** "
    parts = [
        wrapped(
            f"{trial}{found.budget.told()[0].upper()}{found.budget.told()[1:]}; fold {found.fold} of {found.folds} is "
            "held out, and every figure is of it. Intervals are 95 %, bootstrap over patients (where unknown: clusters "
            "of copies). A difference is to the first row; McNemar's test is exact and takes slices for independent, "
            "which makes its p too small. CPU ms are of one image of the exported graph in ONNX Runtime on one thread "
            f"({found.processor}), the median of thirty. Networks that did not begin from noise stand below the others."
        )
    ]
    label_sets = {item.on: item.labels for network in found.networks for item in network.judged if item.labels}
    parts += [_class_table(found, on, labels) for on, labels in label_sets.items()]
    parts += [_mask_table(found)] if any(network.kind == "segmenter" for network in found.networks) else []
    return "\n\n".join(parts)


def _class_table(found: Networks, on: str, labels: Sequence[str]) -> str:
    providers = _providers(found)
    header = ["network", "table 5.3", "parameters", "slices shown", "accuracy (95 %)", "balanced (95 %)"]
    header += ["difference (95 %)", "only first : only this right, p", *(f"CPU ms, {name}" for name in providers)]
    rows = []
    for network, item in _judged(found, on):
        differences = {item.metric.name: item for item in network.differences if item.on == on}
        accuracy = differences.get("accuracy")
        claimed = TABLE_5_3.get(title(network.architecture)) if network.compared else None
        rows.append(
            [
                *_about(network, f"{claimed:.3f}" if claimed else ""),
                _figure(item, "accuracy"),
                _figure(item, "balanced_accuracy"),
                _less(accuracy),
                f"{accuracy.only_first} : {accuracy.only_second}, {accuracy.p_value:.2g}" if accuracy else "",
                *(_ms(network, name) for name in providers),
            ]
        )
    slices = max(item.slices for _, item in _judged(found, on))
    return f"{len(labels)} labels ({', '.join(labels)}), {slices} slices:\n\n{markdown_table(header, rows)}"


def _mask_table(found: Networks) -> str:
    providers, judged = _providers(found), list(_judged(found, OUTLINES))
    figures = list(dict.fromkeys(pair for _, item in judged for pair in _first_views(item.figures)))
    header = ["network", "parameters", "slices shown", *(f"{data_set}: {name}" for data_set, name in figures)]
    header += ["differences (95 %)", *(f"CPU ms, {name}" for name in providers)]
    shown_first = {f"{data_set}, {name[name.index('(') + 1 : -1]}" for data_set, name in figures}
    rows = []
    for network, figured in judged:
        values = {(metric.data_set, metric.name): shown(metric) for metric in figured.figures}
        less = [
            f"{item.metric.data_set} {_less(item)}"
            for item in network.differences
            if item.metric.data_set in shown_first
        ]
        rows.append(
            [
                *(part for index, part in enumerate(_about(network, "")) if index != 1),
                *(values.get(pair, "") for pair in figures),
                "; ".join(less),
                *(_ms(network, name) for name in providers),
            ]
        )
    return f"Outlines of the tumour:\n\n{markdown_table(header, rows)}"


def _first_views(metrics: Sequence[Metric]) -> Iterator[tuple[str, str]]:
    """Of each data set, in the first view of it, what says most: Dice of patients, of slices, or false alarms."""
    for data_set in dict.fromkeys(metric.data_set for metric in metrics):
        names = [metric.name for metric in metrics if metric.data_set == data_set]
        wanted = ("false-positive",) if data_set == HEALTHY else ("volumetric Dice a patient, mean", "Dice on tumour")
        yield from ((data_set, name) for name in [n for w in wanted for n in names if n.startswith(w)][:1])


def _judged(found: Networks, on: str) -> Iterator[tuple[Network, Judged]]:
    """The yardstick first, then the others from noise, then what else is set beside them."""
    order = sorted(found.networks, key=lambda network: (not network.compared, network.name not in YARDSTICKS))
    return ((network, item) for network in order for item in network.judged if item.on == on)


def _about(network: Network, claimed: str) -> list[str]:
    name = title(network.architecture) if network.compared else f"{network.name} ({title(network.architecture)})"
    size = "" if network.compared else f" at {network.size} pixels"
    return [name + size, claimed, f"{network.parameters / 1e6:.1f} M", f"{network.images_seen:,}"]


def _figure(item: Judged, name: str) -> str:
    metrics = (metric for metric in item.figures if metric.name == name and metric.data_set == EVERYTHING)
    return shown(next(metrics))


def _less(item: Difference | None) -> str:
    if item is None:
        return ""
    low, high = item.metric.interval or (float("nan"), float("nan"))
    return f"{item.metric.value:+.3f} ({low:+.3f} to {high:+.3f})"


def _providers(found: Networks) -> list[str]:
    return list(dict.fromkeys(name for network in found.networks for name in network.cpu_ms))


def _ms(network: Network, provider: str) -> str:
    return f"{network.cpu_ms[provider]:.1f}" if provider in network.cpu_ms else ""


def draw_curves(path: Path, networks: Sequence[Network]) -> None:
    """What each network reached as it was shown more, classifiers above segmenters."""
    drawn_kinds = {kind: name for kind, name in _DRAWN.items() if any(item.kind == kind for item in networks)}
    with figure(path, 8.0, 3.4 * len(drawn_kinds)) as drawn:
        column = drawn.subplots(len(drawn_kinds), 1, squeeze=False)[:, 0]
        for axes, (kind, name) in zip(column, drawn_kinds.items(), strict=True):
            _plot(axes, [item for item in networks if item.kind == kind], name)


def _plot(axes: Any, networks: Sequence[Network], name: str) -> None:
    for index, network in enumerate(item for item in networks if item.history):
        axes.plot(
            [epoch["images"] / 1000 for epoch in network.history],
            [epoch.get(name, float("nan")) for epoch in network.history],
            color=PALETTE[index % len(PALETTE)],
            linestyle=_LINES[index // len(PALETTE) % len(_LINES)],
            marker="o",
            markersize=3,
            label=title(network.architecture) if network.compared else network.name,
        )
    axes.set(ylabel=f"{name} on the held-out fold", ylim=(0, 1), xlabel="thousand slices shown")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
