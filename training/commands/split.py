"""``python -m training split``: splits for a user's own data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from training.audit.duplicates import CORRELATION
from training.audit.splitting import split_data_set, split_shares
from training.commands.options import CorrelationOption, console, refusing
from training.data.own import is_own, own_data_set
from training.data.samples import SPLITS, SPLITS_FILE, Sample, write_splits

FolderArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Your data, in any known layout.", exists=True, file_okay=False)
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Table to write; FOLDER/splits.csv, where it is looked for, if not given.")
]
ValOption = Annotated[float, typer.Option("--val", help="Share of slices for validation.")]
TestOption = Annotated[float, typer.Option("--test", help="Share of slices for the test at the end.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Another seed, another draw.")]


def split_command(
    folder: FolderArgument,
    out: OutOption = None,
    val: ValOption = 0.1,
    test: TestOption = 0.2,
    seed: SeedOption = 0,
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
    write_splits(data_set.samples, splits, groups, table)
    console.print(_counts(data_set.samples, splits))
    console.print(f"{data_set.layout}: {len(splits)} slices in {len(set(groups))} groups, written to {table}")


def _counts(samples: tuple[Sample, ...], splits: tuple[str, ...]) -> Table:
    counts = Counter(zip((sample.label for sample in samples), splits, strict=True))
    table = Table("label", *SPLITS)
    for label in sorted({sample.label for sample in samples}):
        table.add_row(label or "not labelled", *(str(counts[label, split]) for split in SPLITS))
    return table
