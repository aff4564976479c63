"""``python -m training bundle``: a run as what the services load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import RunOption, console


def bundle_command(
    run: RunOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of model bundles.")] = Path("models"),
    version: Annotated[str, typer.Option("--version", help="Version of the bundle.")] = "1",
    label_set: Annotated[str | None, typer.Option("--label-set", help="Write this bundle alone.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The bundle's name, if not its kind's usual one.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="What is to be said of it; else nothing is.")] = None,
) -> None:
    """Write NAME/VERSION with graphs, manifest and card."""
    from training.bundle.bundle import Made, bundle_run
    from training.recipe import read_recipe

    made = Made(read_recipe(recipe) if recipe else None, recipe, name, version)
    for folder in bundle_run(run, out, made, label_set):
        console.print(str(folder))
