"""``python -m training audit``: does anything of a split stand in another one?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from training.audit.duplicates import CORRELATION
from training.audit.findings import Audit, Crossing, audit
from training.commands.options import CorrelationOption, console, refusing

# Lines printed of each kind of finding; the JSON has all.
_SHOWN = 10

FolderArgument = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder with data sets, or your own.", exists=True, file_okay=False)
]
OutOption = Annotated[Path | None, typer.Option("--out", help="JSON file for everything that was found.")]


def audit_command(data: FolderArgument, out: OutOption = None, correlation: CorrelationOption = CORRELATION) -> None:
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
    console.print(_sets(found, splits))
    console.print(_copies(found))
    for split in splits:
        if found.twins(split) and split != "train":
            console.print(f"{found.twins(split)} slices of {split} have a copy in train")
    if found.contradictions:
        console.print(f"{found.contradictions} pairs of copies have different labels")
    _crossings("patients", found.patients_across)
    _crossings("groups", found.groups_across)
    console.print("passed: no patient and no group crosses a split" if found.passes else "failed", style="bold")


def _sets(found: Audit, splits: list[str]) -> Table:
    table = Table("layout", "source", "patients", *(split or "not split" for split in splits))
    for part in found.sets:
        counts = (str(part.slices.get(split, 0)) for split in splits)
        table.add_row(part.layout, part.source, str(part.patients), *counts)
    return table


def _copies(found: Audit) -> Table:
    table = Table("copies", "within a split", "across splits", caption=f"{found.images} images, {found.groups} groups")
    table.add_row("exact", str(found.count("exact", crossing=False)), str(found.count("exact", crossing=True)))
    table.add_row("near", str(found.count("near", crossing=False)), str(found.count("near", crossing=True)))
    return table


def _crossings(what: str, crossings: tuple[Crossing, ...]) -> None:
    if crossings:
        console.print(f"{len(crossings)} {what} in more than one split:")
    for crossing in crossings[:_SHOWN]:
        where = ", ".join(f"{count} in {split}" for split, count in crossing.slices.items())
        console.print(f"  {crossing.name}: {where}", markup=False)
    if len(crossings) > _SHOWN:
        console.print("  ...")
