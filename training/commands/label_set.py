"""``python -m training label-set``: some labels of a classifier that is there already, as a bundle of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new bundle.")]
OfOption = Annotated[Path, typer.Option("--of", help="Bundle NAME/VERSION of the classifier.", exists=True)]
LabelOption = Annotated[list[str], typer.Option("--label", help="One of its labels; give two or more, in order.")]
DataOption = Annotated[Path, typer.Option("--data", help="Folder with the data sets.", exists=True, file_okay=False)]
TitleOption = Annotated[str | None, typer.Option("--title", help="What it is called; else the labels are added.")]
SplitOption = Annotated[str, typer.Option("--split", help="Scored on: val while developing; test once, at the end.")]
VersionOption = Annotated[str, typer.Option("--version", help="Version of the new bundle.")]


def label_set_command(
    name: NameArgument,
    of: OfOption,
    label: LabelOption,
    data: DataOption,
    title: TitleOption = None,
    split: SplitOption = "val",
    version: VersionOption = "1",
) -> None:
    """Write a bundle that answers with these labels alone, beside the classifier whose files it names."""
    from training.bundle.label_set import add_label_set

    try:
        typer.echo(add_label_set(name, version, of, tuple(label), data, split, title))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
