"""Commands on runs: join several, write the graph of one, quantise it, score it, and measure how far to trust it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.contracts.manifest import Variant
from training.commands.options import DataOption, RunOption, SplitOption, console, print_metrics, refusing


def average_command(
    of: Annotated[list[Path], typer.Option("--of", help="Run; give two or more, the last one last.")], run: RunOption
) -> None:
    """One network with the mean of the weights of several runs of it."""
    from training.loop.checkpoints import average

    with refusing("--of"):
        average(of, run)


def combine_command(
    member: Annotated[list[Path], typer.Option("--member", help="Run or bundle of a classifier; give two or more.")],
    run: RunOption,
    share: Annotated[
        list[float] | None, typer.Option("--share", help="Weight of each member, in their order; by default all alike.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="Side of the input that all are shown, if not all were trained at one.")
    ] = None,
) -> None:
    """Classifiers of the same labels as one network that answers with their mean."""
    from training.bundle.combine import combine

    with refusing("--member"):
        combine(member, run, share, size)


def second_reader_command(
    first: Annotated[Path, typer.Option("--first", help="Run or bundle of the segmenter that answers.")],
    second: Annotated[Path, typer.Option("--second", help="Run or bundle of the segmenter that it asks.")],
    run: RunOption,
) -> None:
    """A segmenter that asks another one where T1, T1 post-contrast and FLAIR are all shown."""
    from training.bundle.combine import second_reader

    with refusing():
        second_reader(first, second, run)


def export_command(
    data: DataOption,
    run: RunOption,
    size: Annotated[list[int] | None, typer.Option("--size", help="Input sizes to choose from on validation.")] = None,
) -> None:
    """Write model.onnx: calibrated, every output in one graph, checked against torch."""
    from training.bundle.export import PARITY, export_run

    record = export_run(run, data, size)
    parity = f"parity with torch {record.parity:.1e} (allowed {PARITY:.0e})"
    console.print(f"{parity}, rounding to fp16 moves outputs {record.rounding:.1e}")
    console.print_json(record.model_dump_json())


def quantize_command(data: DataOption, run: RunOption) -> None:
    """Write model.int8.onnx and compare it with the reference on validation."""
    from training.bundle.quantize import NothingToGainError, quantise_run

    try:
        console.print_json(quantise_run(run, data).model_dump_json())
    except NothingToGainError as error:
        console.print(str(error), markup=False)


def evaluate_command(
    data: DataOption,
    run: RunOption,
    split: SplitOption = "val",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the figures; by default the run.")] = None,
    label_set: Annotated[str | None, typer.Option("--label-set", help="Score these labels alone.")] = None,
) -> None:
    """Score the exported graphs of a run or bundle on a split, with intervals over patients."""
    from training.evaluation.evaluate import evaluate_run

    print_metrics(evaluate_run(run, data, split, out, label_set).reference)


def trust_command(
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder NAME/VERSION of a classifier.", exists=True)],
    data: DataOption,
    strange: Annotated[
        Path | None,
        typer.Option(
            "--strange",
            help="Folder with one folder a kind of strange pictures (PNG, JPEG, ...). What a name has before its first "
            "hyphen is the group that the intervals draw.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="File that the figures are written to.")] = Path("trust.json"),
    split: Annotated[
        list[str] | None, typer.Option("--split", help="val while developing; test once, at the end.")
    ] = None,
    variant: Annotated[Variant, typer.Option("--variant", help="reference or int8.")] = "reference",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Slices a split and pictures a kind, at most.", min=1)
    ] = None,
) -> None:
    """Measure input check, calibration, prediction sets and heat maps of a bundle; fits nothing."""
    from training.evaluation.trust import measure_trust

    record = measure_trust(bundle, data, strange, tuple(split or ("val",)), variant, limit)
    out.write_text(record.model_dump_json(indent=2) + "\n")
    console.print(f"{record.bundle} ({record.variant}), pictures: {record.strange}")
    print_metrics(record.metrics)
