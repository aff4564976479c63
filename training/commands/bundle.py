"""``python -m training bundle``: a run as what the services load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import RunOption, console


def bundle_command(
    run: RunOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of model bundles.")] = Path("models"),
    version: Annotated[str, typer.Option("--version", help="Version of the bundle.")] = "1",
    label_set: Annotated[str | None, typer.Option("--label-set", help="Write this bundle alone.")] = None,
) -> None:
    """Write NAME/VERSION with graphs, manifest and card."""
    from training.bundle.bundle import bundle_run

    for folder in bundle_run(run, out, version, label_set):
        console.print(str(folder))
