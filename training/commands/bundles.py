"""Commands that write bundles: of a run, of some labels of a classifier, by a recipe; and their cards anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import (
    DataOption,
    DeviceOption,
    PhotographsOption,
    RunOption,
    SplitOption,
    ThreadsOption,
    console,
    refusing,
    use_threads,
)

VersionOption = Annotated[str, typer.Option("--version", help="Version of the bundle.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of model bundles.")]


def bundle_command(
    run: RunOption,
    out: OutOption = Path("models"),
    version: VersionOption = "1",
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


def label_set_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new bundle.")],
    of: Annotated[Path, typer.Option("--of", help="Bundle NAME/VERSION of the classifier.", exists=True)],
    label: Annotated[list[str], typer.Option("--label", help="One of its labels; give two or more, in order.")],
    data: DataOption,
    title: Annotated[str | None, typer.Option("--title", help="What it is called; else the labels are added.")] = None,
    split: SplitOption = "val",
    version: VersionOption = "1",
) -> None:
    """Write a bundle that answers with these labels alone, beside the classifier whose files it names."""
    from training.bundle.bundle import add_label_set

    with refusing():
        typer.echo(add_label_set(name, version, of, tuple(label), data, split, title))


def make_command(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe of training/recipes, or a .toml file.")],
    data: DataOption,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of RECIPE/STEP, made and found again.")] = Path("runs"),
    out: OutOption = Path("runs/bundles"),
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    test: Annotated[bool, typer.Option("--test", help="Score on test, once, at the end; else on val.")] = False,
    equal: Annotated[
        bool, typer.Option("--equal", help="Where a bundle cannot be remade: make its like from public starts.")
    ] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Make anew what was made from other settings.")] = False,
    photographs: PhotographsOption = None,
) -> None:
    """Make a recipe's bundles: train, join, export, quantise, evaluate, bundle. Goes on where it was interrupted."""
    from training.make import Kitchen, make

    use_threads(threads)
    try:
        folders = make(name, Kitchen(data, runs, out, device, redo, photographs, console), test=test, equal=equal)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(1) from error
    for folder in folders:
        console.print(str(folder), markup=False)


def validate_command(
    folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder NAME/VERSION of a model of volumes.")],
    data: DataOption,
) -> None:
    """Measure on val how well a bundle finds each region of volumes, and write that into its manifest and card."""
    from training.bundle.bundle import with_validated_dice

    with refusing():
        for region, metric in with_validated_dice(folder, data).items():
            typer.echo(f"{region}: {metric.value:.3f} ({metric.count} {metric.count_unit} of {metric.data_set})")


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
