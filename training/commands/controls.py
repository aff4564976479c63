"""``python -m training controls``: what the data give away without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

DataOption = Annotated[Path, typer.Option("--data", help="Folder with the data sets.", exists=True, file_okay=False)]
OutOption = Annotated[Path, typer.Option("--out", help="Folder that controls.json is written into.")]
SplitOption = Annotated[str, typer.Option("--split", help="val while developing; test once, at the end.")]


def controls_command(data: DataOption, out: OutOption = Path("runs/controls"), split: SplitOption = "val") -> None:
    """Score trivial methods: 1-NN, SVM, frame only, centre masked, random labels, empty masks."""
    # Imported when it is asked for: nothing else on the command line needs scikit-learn.
    from training.evaluation.controls import run_controls

    console = Console()
    record = run_controls(data, out, split)
    for control in (*record.classification, *record.segmentation):
        console.print(f"{control.name}, {len(control.labels)} labels: {control.method}", soft_wrap=True)
        for metric in control.metrics:
            interval = f"{metric.interval[0]:.3f} to {metric.interval[1]:.3f}" if metric.interval else ""
            line = f"  {metric.name:60} {metric.data_set:22} {metric.value:.3f}  [{interval}]  n={metric.count}"
            console.print(line, soft_wrap=True, markup=False)
