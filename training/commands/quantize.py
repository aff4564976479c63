"""``python -m training quantize``: the graph file for CPUs."""

from __future__ import annotations

from training.commands.options import DataOption, RunOption, console


def quantize_command(data: DataOption, run: RunOption) -> None:
    """Write model.int8.onnx and compare it with the reference on validation."""
    from training.bundle.quantize import NothingToGainError, quantise_run

    try:
        console.print_json(quantise_run(run, data).model_dump_json())
    except NothingToGainError as error:
        console.print(str(error), markup=False)
