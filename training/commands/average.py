"""``python -m training average``: the mean of the weights of runs that went on from one another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import WrittenRunOption, refusing

OfOption = Annotated[list[Path], typer.Option("--of", help="Run; give two or more, the last one last.")]


def average_command(of: OfOption, run: WrittenRunOption) -> None:
    """One network with the mean of the weights of several runs of it."""
    from training.loop.checkpoints import average

    with refusing("--of"):
        average(of, run)
