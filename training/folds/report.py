"""``evidence.json`` and ``evidence.md``: candidates side by side on what none of them has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from core.contracts.manifest import Metric
from training.evaluation.answers import Answers, ClassAnswers, MaskAnswers
from training.folds.assign import ALWAYS_TRAINS
from training.folds.figures import (
    EVERYTHING,
    Difference,
    Judged,
    class_differences,
    judge_classes,
    judge_masks,
    label_sets_of,
    mask_differences,
)
from training.folds.view import Folds
from training.markdown import markdown_table, wrapped
from training.records import Part, Record
from training.report.scored import shown

# Patients that the page names; the JSON has all.
PATIENTS: Final = 12
# Columns of the tables, by how their figures are called.
_COLUMNS: Final = ("accuracy", "balanced_accuracy", "accuracy a patient, mean", "NLL", "ECE")


class Pool(Part):
    """Items of one source and label, by the fold that holds them out, and those that always train."""

    stratum: str
    held_out: tuple[int, ...]
    always_train: int


class Evidence(Record):
    """Everything that the page says."""

    folds: int
    groups: int
    pool: tuple[Pool, ...]
    candidates: dict[str, tuple[Judged, ...]]
    differences: tuple[Difference, ...]


def evidence_of(found: Mapping[str, Answers], folds: Folds) -> Evidence:
    """Figures of each candidate by its name; the others are compared with the first of their kind."""
    return Evidence(
        folds=folds.count,
        groups=len(set(folds.groups.values())),
        pool=tuple(_pools(folds)),
        candidates={name: judged_on(answers) for name, answers in found.items()},
        differences=tuple(differences(found)),
    )


def judged_on(answers: Answers) -> tuple[Judged, ...]:
    """Figures on each label set that a classifier covers, or of a segmenter's outlines."""
    if isinstance(answers, MaskAnswers):
        return (judge_masks(answers),)
    sets = label_sets_of(answers.names.tolist())
    return tuple(judge_classes(answers, on, labels) for on, labels in sets.items())


def differences(found: Mapping[str, Answers]) -> Iterable[Difference]:
    """Each candidate but the first of its kind less that first one."""
    classes = [(name, answers) for name, answers in found.items() if isinstance(answers, ClassAnswers)]
    masks = [(name, answers) for name, answers in found.items() if isinstance(answers, MaskAnswers)]
    for other in classes[1:]:
        yield from class_differences(classes[0], other)
    for item in masks[1:]:
        yield from mask_differences(masks[0], item)


def _pools(folds: Folds) -> Iterable[Pool]:
    for stratum in sorted({item.stratum for item in folds.items}):
        places = [item.fold for item in folds.items if item.stratum == stratum]
        held_out = tuple(places.count(fold) for fold in range(folds.count))
        yield Pool(stratum=stratum, held_out=held_out, always_train=places.count(ALWAYS_TRAINS))


def evidence_page(evidence: Evidence) -> str:
    """The page in Markdown."""
    parts = [
        "# Out-of-fold evidence",
        wrapped(
            f"{evidence.folds} folds over `train` and `val`; `test` is in none. A patient, and a cluster of copies, is "
            f"in one fold ({evidence.groups} groups). Each answer is of a network that has not seen the group. "
            "Temperature, prediction sets and threshold are those that the other folds give. Intervals are 95 %, "
            "bootstrap over groups; that training itself varies is not in them. Slices whose patient is not known, "
            "in a source that knows other patients, may show anybody's head: they always train, and are no evidence."
        ),
        _pool_table(evidence),
    ]
    if evidence.differences:
        parts += ["## Differences", _difference_table(evidence.differences)]
    for name, judged in evidence.candidates.items():
        for item in judged:
            parts += [f"## {name}, {item.on}", *_candidate(item)]
    return "\n\n".join(parts) + "\n"


def _pool_table(evidence: Evidence) -> str:
    header = ["source and label", *(f"fold {fold}" for fold in range(evidence.folds)), "always trains"]
    rows = [[pool.stratum, *map(str, pool.held_out), str(pool.always_train)] for pool in evidence.pool]
    return markdown_table(header, rows)


def _difference_table(found: Sequence[Difference]) -> str:
    rows = []
    for item in found:
        low, high = item.metric.interval or (float("nan"), float("nan"))
        test = f"{item.only_first} : {item.only_second}, p = {item.p_value:.3g}" if item.p_value is not None else ""
        where = "" if item.metric.data_set == EVERYTHING else f", {item.metric.data_set}"
        value = f"{item.metric.value:+.4f} ({low:+.4f} to {high:+.4f})"
        count = f"{item.metric.count} {item.metric.count_unit}"
        figure, what = item.metric.name + where, f"{item.second} less {item.first}"
        rows.append([what, item.on, figure, value, count, test, item.verdict])
    header = ["what", "on", "figure", "difference (95 %)", "n", "only first : only second right", "better"]
    return markdown_table(header, rows)


def _candidate(item: Judged) -> list[str]:
    folds = ", ".join(map(str, item.folds))
    fitted = {
        "temperature": item.fitted.temperature,
        "threshold of prediction sets": item.fitted.conformal_quantile,
        "threshold of masks": item.fitted.threshold,
    }
    told = ", ".join(f"{what} {value:.3f}" for what, value in fitted.items() if value is not None)
    head = f"{item.slices} slices in {item.groups} groups, held out by fold {folds}. On all of them: {told}."
    if not item.labels:
        rows = [[m.name, m.data_set, f"{m.count} {m.count_unit}", shown(m)] for m in item.figures]
        return [wrapped(head), markdown_table(["figure", "data", "n", "value (95 %)"], rows)]
    table = _stratum_table(item.figures)
    sets = [metric for metric in item.figures if metric.name not in _COLUMNS]
    head += "".join(f" {metric.name.capitalize()}: {shown(metric)}." for metric in sets)
    wrong = [patient for patient in item.patients if patient.right < patient.slices][:PATIENTS]
    rows = [[p.name, p.source, p.label, f"{p.right} of {p.slices}", f"{p.nll:.2f}"] for p in wrong]
    worst = markdown_table(["patient or cluster", "source", "label", "right", "NLL"], rows)
    return [wrapped(head), table, "Most wrong answers:", worst] if rows else [wrapped(head), table]


def _stratum_table(figures: Sequence[Metric]) -> str:
    by_stratum: dict[str, dict[str, Metric]] = {}
    for metric in figures:
        by_stratum.setdefault(metric.data_set, {})[metric.name] = metric
    rows = [
        [name, str(found["accuracy"].count), *(shown(found[column]) for column in _COLUMNS)]
        for name, found in by_stratum.items()
    ]
    return markdown_table(["on", "n", *_COLUMNS], rows)
