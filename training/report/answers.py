"""Figures of a classifier's answers: confusion, ROC, reliability."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from training.data.cases import Volume
from training.evaluation.predictions import ClassPredictions
from training.evaluation.rates import BINS, area_under_roc, confusion_matrix, expected_calibration_error, reliability
from training.report.page import Section
from training.report.scored import Scored
from training.report.style import BLUE, GREY, PALETTE, RED, figure

# Cells darker than this share of white text.
_DARK = 0.55


def plot_confusion(axes: Any, item: ClassPredictions) -> None:
    """Counts, rows the truth; shaded by the share of the row."""
    names = _titles(item)
    counts = confusion_matrix(item.predicted, item.labels, len(names))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        text = f"{count}\n{share:.0%}" if count else "0"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > _DARK else "black")
    places = range(len(names))
    axes.set_xticks(places, names)
    axes.set_yticks(places, names)
    axes.set(xlabel="answer", ylabel="truth")
    axes.grid(visible=False)


def plot_roc(axes: Any, item: ClassPredictions) -> None:
    """One curve a class against the rest, with its area; classes that the split lacks have none."""
    for index, name in enumerate(_titles(item)):
        positive = item.labels == index
        if not 0 < positive.sum() < len(positive):
            continue
        scores = item.probabilities[:, index]
        # A point for each distinct score: the lines between them enclose just the area.
        alarms, hits, _ = roc_curve(positive, scores, drop_intermediate=False)
        axes.plot(
            alarms,
            hits,
            color=PALETTE[index % len(PALETTE)],
            linestyle=("solid", "dashed", "dashdot", (0, (1, 1)))[index % 4],
            label=f"{name}, area {area_under_roc(scores, positive):.3f}",
        )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="dotted")
    axes.set_aspect("equal")
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="false-positive rate", ylabel="true-positive rate")
    axes.legend(loc="lower right")


def plot_reliability(axes: Any, below: Any, item: ClassPredictions) -> None:
    """Accuracy of the answers of each confidence, and in ``below`` how many there are."""
    points = reliability(item.probabilities, item.labels)
    filled = points.count > 0
    middles = (np.arange(BINS) + 0.5) / BINS
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="dotted")
    axes.bar(middles[filled], points.accuracy[filled], width=0.9 / BINS, color=BLUE, alpha=0.35)
    axes.plot(points.confidence[filled], points.accuracy[filled], color=BLUE, marker="o", linestyle="none")
    error = expected_calibration_error(item.probabilities, item.labels)
    axes.set(title=f"ECE {error:.3f}, {BINS} bins", xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    below.bar(middles, points.count, width=0.9 / BINS, color=RED, alpha=0.7)
    below.set(xlabel="confidence", ylabel="answers")


def _titles(item: ClassPredictions) -> list[str]:
    return [name.replace("_", " ") for name in item.names.tolist()]


def classifier_sections(item: Scored, out: Path, _volume: Volume) -> list[Section]:
    """Confusion, ROC and reliability of one classifier, drawn into ``out``."""
    answers, stated = item.classes(), item.stated
    confusion, roc, calibration = (f"{item.stem}-{name}.png" for name in ("confusion", "roc", "reliability"))
    side = 1.6 + 0.75 * len(answers.names)
    with figure(out / confusion, side + 0.5, side) as drawn:
        plot_confusion(drawn.subplots(), answers)
    with figure(out / roc, 4.6, 4.4) as drawn:
        plot_roc(drawn.subplots(), answers)
    with figure(out / calibration, 4.6, 4.8) as drawn:
        axes, below = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        plot_reliability(axes, below, answers)
    return [
        Section(
            f"Confusion, {item.address}",
            {confusion: f"confusion matrix of {item.address}"},
            f"{len(answers.labels)} slices: accuracy {stated('accuracy')}, balanced "
            f"{stated('balanced_accuracy')}. {_commonest_error(answers)}",
        ),
        Section(
            f"ROC, {item.address}",
            {roc: f"ROC curves of {item.address}, one class against the rest"},
            f"Each class against the rest by its own probability; mean of the areas {stated('macro AUC')}. "
            "An area says how slices are ranked, not how many answers are right.",
        ),
        Section(
            f"Reliability, {item.address}",
            {calibration: f"reliability diagram of {item.address}"},
            f"ECE {stated('ECE')} (drawing slices again pushes it up, so its interval may lie above it), Brier "
            f"score {stated('Brier score')}; the temperature was fitted on `val`. Points above the dotted line "
            "are answers that were right more often than they claimed; bins of few answers scatter.",
        ),
    ]


def _commonest_error(answers: ClassPredictions) -> str:
    wrong = answers.only(answers.predicted != answers.labels)
    pairs = Counter(zip(wrong.names[wrong.labels], wrong.names[wrong.predicted], strict=True))
    if not pairs:
        return "No answer was wrong."
    ((truth, answer), count), *_ = pairs.most_common(1)
    return f"The commonest of its {pairs.total()} errors is {truth} answered as {answer} ({count})."
