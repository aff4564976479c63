"""``python -m training export``: a run's network as a graph file."""

from __future__ import annotations

from typing import Annotated

import typer

from training.commands.options import DataOption, RunOption, console

SizeOption = Annotated[list[int] | None, typer.Option("--size", help="Input sizes to choose from on validation.")]


def export_command(data: DataOption, run: RunOption, size: SizeOption = None) -> None:
    """Write model.onnx: calibrated, every output in one graph, checked against torch."""
    from training.bundle.export import PARITY, export_run

    record = export_run(run, data, size)
    parity = f"parity with torch {record.parity:.1e} (allowed {PARITY:.0e})"
    console.print(f"{parity}, rounding to fp16 moves outputs {record.rounding:.1e}")
    console.print_json(record.model_dump_json())
