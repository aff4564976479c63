"""``python -m training evaluate``: figures of graph files on a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import DataOption, RunOption, SplitOption, print_metrics

OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the figures; by default the run.")]
LabelSetOption = Annotated[str | None, typer.Option("--label-set", help="Score these labels alone.")]


def evaluate_command(
    data: DataOption,
    run: RunOption,
    split: SplitOption = "val",
    out: OutOption = None,
    label_set: LabelSetOption = None,
) -> None:
    """Score the exported graphs of a run or bundle on a split, with intervals over patients."""
    from training.evaluation.evaluate import evaluate_run

    print_metrics(evaluate_run(run, data, split, out, label_set).reference)
