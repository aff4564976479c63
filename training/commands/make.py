"""``python -m training make`` and ``card``: a recipe from public starts to bundles, and a card rendered again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

NameArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe of training/recipes, or a .toml file.")]
DataOption = Annotated[Path, typer.Option("--data", help="Folder with the data sets.", exists=True, file_okay=False)]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that RECIPE/STEP are made in, and found again.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of model bundles.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
ThreadsOption = Annotated[int, typer.Option("--threads", help="CPU threads; 0 leaves torch's own choice.")]
TestOption = Annotated[bool, typer.Option("--test", help="Score on test, once, at the end; else figures are of val.")]
EqualOption = Annotated[
    bool, typer.Option("--equal", help="Where a bundle cannot be remade: make its like from public starts.")
]
RedoOption = Annotated[bool, typer.Option("--redo", help="Make anew what was made from other settings.")]


def make_command(
    name: NameArgument,
    data: DataOption,
    runs: RunsOption = Path("runs"),
    out: OutOption = Path("runs/bundles"),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    test: TestOption = False,
    equal: EqualOption = False,
    redo: RedoOption = False,
) -> None:
    """Make a recipe's bundles: train, join, export, quantise, evaluate, bundle. Goes on where it was interrupted."""
    import torch

    from training.make import Kitchen, make

    if threads:
        torch.set_num_threads(threads)
    console = Console(soft_wrap=True, highlight=False)
    try:
        folders = make(name, Kitchen(data, runs, out, device, redo, console), test=test, equal=equal)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(1) from error
    for folder in folders:
        console.print(str(folder), markup=False)


def card_command(
    folders: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Folders NAME/VERSION.")],
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Recipe, where its bundle names none or moved.")
    ] = None,
) -> None:
    """Render the cards of bundles anew from their recipes and what was measured."""
    from training.bundle.card import write_card
    from training.recipe import read_recipe

    for folder in folders:
        typer.echo(write_card(folder, read_recipe(recipe) if recipe else None))
