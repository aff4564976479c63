"""The command that makes the weights of the input check's perceptron, and says how it judges what it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from core.imaging.preparation.familiarity import WEIGHTS
from training.commands.options import DataOption, ThreadsOption, console, refusing, use_threads


def input_check_command(
    data: DataOption,
    packages: Annotated[
        Path, typer.Option("--packages", help="Folder with the unpacked packages of strangers.toml.", exists=True)
    ],
    out: Annotated[Path, typer.Option("--out", help="File of weights, .npz.")] = WEIGHTS,
    held_out: Annotated[bool, typer.Option("--held-out", help="Judge each source by weights made without it.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn.")] = 0,
    threads: ThreadsOption = 0,
) -> None:
    """Learn what a familiar slice looks like, and print which share of each kind is accepted."""
    from training.familiarity.making import make

    use_threads(threads)
    with refusing("--packages"):
        shares = make(data, packages, out, held_out=held_out, seed=seed)
    table = Table("pictures", "count", "accepted")
    for share in shares:
        table.add_row(share.name, str(share.count), f"{share.accepted:.3f}")
    console.print(table)
