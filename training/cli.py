"""Command line: every command by name; what each does stands in ``training.commands``."""

from __future__ import annotations

import typer

from training.commands import bundles, data, evidence, familiarity, report, runs, train

app = typer.Typer(no_args_is_help=True, help="Train, evaluate and export the models that Falx serves.")
for module in (train, runs, bundles, data, evidence, familiarity, report):
    for name, command in vars(module).items():
        if name.endswith("_command"):
            app.command(name.removesuffix("_command").replace("_", "-"))(command)
