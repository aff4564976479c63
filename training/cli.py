"""Command line: every command by name; what each does stands in ``training.commands``."""

from __future__ import annotations

import typer

from training.commands.audit import audit_command
from training.commands.average import average_command
from training.commands.bundle import bundle_command
from training.commands.combine import combine_command, second_reader_command
from training.commands.controls import controls_command
from training.commands.evaluate import evaluate_command
from training.commands.export import export_command
from training.commands.label_set import label_set_command
from training.commands.make import card_command, make_command
from training.commands.quantize import quantize_command
from training.commands.report import report_command
from training.commands.split import split_command
from training.commands.train import train_app
from training.commands.trust import trust_command

app = typer.Typer(no_args_is_help=True, help="Train, evaluate and export the models that Falx serves.")
app.add_typer(train_app, name="train")
for command in (
    audit_command,
    average_command,
    bundle_command,
    card_command,
    combine_command,
    controls_command,
    evaluate_command,
    export_command,
    label_set_command,
    make_command,
    quantize_command,
    report_command,
    second_reader_command,
    split_command,
    trust_command,
):
    app.command(command.__name__.removesuffix("_command").replace("_", "-"))(command)
