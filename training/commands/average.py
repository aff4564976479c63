"""``python -m training average``: the mean of the weights of runs that went on from one another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OfOption = Annotated[list[Path], typer.Option("--of", help="Run; give two or more, the last one last.")]
RunOption = Annotated[Path, typer.Option("--run", help="Run folder that is written.")]


def average_command(of: OfOption, run: RunOption) -> None:
    """One network with the mean of the weights of several runs of it."""
    from training.loop.averaging import average

    try:
        average(of, run)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--of") from error
