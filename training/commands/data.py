"""Commands on data: do splits overlap, how a user's own are split, and what they give away without a network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from training.audit.duplicates import CORRELATION
from training.audit.findings import Audit, Crossing, audit
from training.audit.splitting import split_data_set, split_shares
from training.commands.options import DataOption, SplitOption, console, print_metrics, refusing
from training.data.own import is_own, own_data_set
from training.data.samples import SPLITS, SPLITS_FILE, write_splits

# Lines printed of each kind of finding; the JSON has all.
_SHOWN = 10

CorrelationOption = Annotated[
    float, typer.Option("--correlation", help="Least correlation of copies; raise it for slices without skull.")
]


def audit_command(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder with data sets, or your own.", exists=True, file_okay=False)
    ],
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for everything that was found.")] = None,
    correlation: CorrelationOption = CORRELATION,
) -> None:
    """Find copies and patients that cross a split; exits with 1 where any does."""
    with refusing("DATA"):
        found = audit(data, correlation)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(found.model_dump_json(indent=2) + "\n")
    _show(found)
    if not found.passes:
        raise typer.Exit(1)


def _show(found: Audit) -> None:
    splits = list(dict.fromkeys(split for part in found.sets for split in part.slices))
    table = Table("layout", "source", "patients", *(split or "not split" for split in splits))
    for part in found.sets:
        counts = (str(part.slices.get(split, 0)) for split in splits)
        table.add_row(part.layout, part.source, str(part.patients), *counts)
    console.print(table)
    table = Table("copies", "within a split", "across splits", caption=f"{found.images} images, {found.groups} groups")
    table.add_row("exact", str(found.count("exact", crossing=False)), str(found.count("exact", crossing=True)))
    table.add_row("near", str(found.count("near", crossing=False)), str(found.count("near", crossing=True)))
    console.print(table)
    for split in splits:
        if found.twins(split) and split != "train":
            console.print(f"{found.twins(split)} slices of {split} have a copy in train")
    if found.contradictions:
        console.print(f"{found.contradictions} pairs of copies have different labels")
    _crossings("patients", found.patients_across)
    _crossings("groups", found.groups_across)
    console.print("passed: no patient and no group crosses a split" if found.passes else "failed", style="bold")


def _crossings(what: str, crossings: tuple[Crossing, ...]) -> None:
    if crossings:
        console.print(f"{len(crossings)} {what} in more than one split:")
    for crossing in crossings[:_SHOWN]:
        where = ", ".join(f"{count} in {split}" for split, count in crossing.slices.items())
        console.print(f"  {crossing.name}: {where}", markup=False)
    if len(crossings) > _SHOWN:
        console.print("  ...")


def split_command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Your data, in any known layout.", exists=True, file_okay=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Table to write; if none, FOLDER/splits.csv, where it is looked for."),
    ] = None,
    val: Annotated[float, typer.Option("--val", help="Share of slices for validation.")] = 0.1,
    test: Annotated[float, typer.Option("--test", help="Share of slices for the test at the end.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another draw.")] = 0,
    correlation: CorrelationOption = CORRELATION,
) -> None:
    """Split by patient and cluster of copies, every label in about the same shares. Splits it had are replaced."""
    if not is_own(folder):
        raise typer.BadParameter("the published tables have splits of their own", param_hint="FOLDER")
    with refusing():
        shares = split_shares(val, test)
        data_set = own_data_set(folder)
        splits, groups = split_data_set(data_set, shares, seed, correlation)
    table = out or folder / SPLITS_FILE
    write_splits(data_set.described, splits, groups, table)
    counts = Counter(zip((sample.label for sample in data_set.described), splits, strict=True))
    shown = Table("label", *SPLITS)
    labels = sorted({sample.label for sample in data_set.described})
    for label in labels:
        shown.add_row(label or "not labelled", *(str(counts[label, split]) for split in SPLITS))
    console.print(shown)
    console.print(f"{data_set.layout}: {len(splits)} slices in {len(set(groups))} groups, written to {table}")
    asked = [split for split, share in shares.items() if share]
    if lacking := [label for label in labels if label and not all(counts[label, split] for split in asked)]:
        console.print(f"A split has no slice of {', '.join(lacking)}: another --seed may help, or more patients.")


def controls_command(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for controls.json.")] = Path("runs/controls"),
    split: SplitOption = "val",
) -> None:
    """Score trivial methods: 1-NN, SVM, frame only, centre masked, random labels, empty masks."""
    # Nothing else on the command line needs scikit-learn.
    from training.evaluation.controls import run_controls

    record = run_controls(data, out, split)
    for control in (*record.classification, *record.segmentation):
        console.print(f"{control.name}, {len(control.labels)} labels: {control.method}")
        print_metrics(control.metrics)
