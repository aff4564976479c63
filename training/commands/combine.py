"""Commands that make one run of several: the mean of their weights, their mean answer, or a second reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import refusing

RunOption = Annotated[Path, typer.Option("--run", help="Run folder that is written.")]


def average_command(
    of: Annotated[list[Path], typer.Option("--of", help="Run; give two or more, the last one last.")], run: RunOption
) -> None:
    """One network with the mean of the weights of several runs of it."""
    from training.loop.checkpoints import average

    with refusing("--of"):
        average(of, run)


def combine_command(
    member: Annotated[list[Path], typer.Option("--member", help="Run or bundle of a classifier; give two or more.")],
    run: RunOption,
    share: Annotated[
        list[float] | None, typer.Option("--share", help="Weight of each member, in their order; by default all alike.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="Side of the input that all are shown, if not all were trained at one.")
    ] = None,
) -> None:
    """Classifiers of the same labels as one network that answers with their mean."""
    from training.bundle.combine import combine

    with refusing("--member"):
        combine(member, run, share, size)


def second_reader_command(
    first: Annotated[Path, typer.Option("--first", help="Run or bundle of the segmenter that answers.")],
    second: Annotated[Path, typer.Option("--second", help="Run or bundle of the segmenter that it asks.")],
    run: RunOption,
) -> None:
    """A segmenter that asks another one where T1, T1 post-contrast and FLAIR are all shown."""
    from training.bundle.combine import second_reader

    with refusing():
        second_reader(first, second, run)
