"""``python -m training trust``: how far a bundle's answers can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.contracts.manifest import Variant
from training.commands.options import DataOption, console, print_metrics

BundleOption = Annotated[Path, typer.Option("--bundle", help="Folder NAME/VERSION of a classifier.", exists=True)]
StrangeOption = Annotated[
    Path | None,
    typer.Option(
        "--strange",
        help="Folder with one folder a kind of strange pictures (PNG, JPEG, ...). What a name has before its first "
        "hyphen is the group that the intervals draw.",
        exists=True,
        file_okay=False,
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="File that the figures are written to.")]
SplitOption = Annotated[list[str] | None, typer.Option("--split", help="val while developing; test once, at the end.")]
VariantOption = Annotated[Variant, typer.Option("--variant", help="reference or int8.")]
LimitOption = Annotated[int | None, typer.Option("--limit", help="Slices a split and pictures a kind, at most.", min=1)]


def trust_command(
    bundle: BundleOption,
    data: DataOption,
    strange: StrangeOption = None,
    out: OutOption = Path("trust.json"),
    split: SplitOption = None,
    variant: VariantOption = "reference",
    limit: LimitOption = None,
) -> None:
    """Measure input check, calibration, prediction sets and heat maps of a bundle; fits nothing."""
    from training.evaluation.trust import measure_trust

    record = measure_trust(bundle, data, strange, tuple(split or ("val",)), variant, limit)
    out.write_text(record.model_dump_json(indent=2) + "\n")
    console.print(f"{record.bundle} ({record.variant}), pictures: {record.strange}")
    print_metrics(record.metrics)
