"""Options that several commands have, and what commands print alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core.contracts.manifest import Metric

DataOption = Annotated[Path, typer.Option("--data", help="Folder with the data sets.", exists=True, file_okay=False)]
RunOption = Annotated[Path, typer.Option("--run", help="Run folder: checkpoints and history.")]
SplitOption = Annotated[str, typer.Option("--split", help="val while developing; test once, at the end.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
ThreadsOption = Annotated[int, typer.Option("--threads", help="CPU threads; 0 leaves torch's own choice.")]
PhotographsOption = Annotated[
    Path | None, typer.Option("--photographs", help="File of the network of photographs, where a recipe asks.")
]

console = Console(soft_wrap=True, highlight=False)


def use_threads(threads: int) -> None:
    """Let torch compute with so many threads; 0: as many as it likes."""
    # Imported when something is trained: torch takes seconds, and --help needs none of it.
    import torch

    if threads:
        torch.set_num_threads(threads)


@contextmanager
def refusing(option: str | None = None) -> Iterator[None]:
    """Say what is wrong with what was given, instead of where it was found."""
    try:
        yield
    except (FileNotFoundError, TypeError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def print_metrics(metrics: Iterable[Metric]) -> None:
    """A line each."""
    for metric in metrics:
        interval = f"{metric.interval[0]:.3f} to {metric.interval[1]:.3f}" if metric.interval else ""
        where = f"{metric.split:5} {metric.data_set:24}"
        console.print(f"{metric.name:56} {where} {metric.value:.3f}  [{interval}]  n={metric.count}", markup=False)
