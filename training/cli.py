"""Command line: every command by name; what each does stands in ``training.commands``."""

from __future__ import annotations

import typer

from training.commands import bundles, combine, data, graphs, report
from training.commands.train import train_app

app = typer.Typer(no_args_is_help=True, help="Train, evaluate and export the models that Falx serves.")
app.add_typer(train_app, name="train")
for module in (bundles, combine, data, graphs, report):
    for name, command in vars(module).items():
        if name.endswith("_command"):
            app.command(name.removesuffix("_command").replace("_", "-"))(command)
