"""``python -m training controls``: what the data give away without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import DataOption, SplitOption, console, print_metrics

OutOption = Annotated[Path, typer.Option("--out", help="Folder that controls.json is written into.")]


def controls_command(data: DataOption, out: OutOption = Path("runs/controls"), split: SplitOption = "val") -> None:
    """Score trivial methods: 1-NN, SVM, frame only, centre masked, random labels, empty masks."""
    # Imported when it is asked for: nothing else on the command line needs scikit-learn.
    from training.evaluation.controls import run_controls

    record = run_controls(data, out, split)
    for control in (*record.classification, *record.segmentation):
        console.print(f"{control.name}, {len(control.labels)} labels: {control.method}")
        print_metrics(control.metrics)
