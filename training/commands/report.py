"""``python -m training report``: the data, the trainings and the shipped models in figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import DataOption, console

ModelsOption = Annotated[Path, typer.Option("--models", help="Folder of model bundles.", exists=True, file_okay=False)]
RunsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--runs",
        help="Run whose curves are drawn and whose evaluation is read, or folder with controls.json. May be repeated.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for the figures and their README.md.")]
SplitOption = Annotated[str, typer.Option("--split", help="Split that the shipped bundles are scored on.")]
PaperOption = Annotated[
    Path | None, typer.Option("--paper", help="Markdown file whose table 5.3 is written anew.", exists=True)
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(
        "--with-images",
        help="Folder outside the report for the same pictures of patients in your copy of the data. Do not publish it.",
    ),
]


def report_command(
    data: DataOption,
    models: ModelsOption = Path("models"),
    runs: RunsOption = None,
    out: OutOption = Path("docs/models"),
    split: SplitOption = "test",
    paper: PaperOption = None,
    with_images: ImagesOption = None,
) -> None:
    """Draw figures of data, trainings and bundles with a page that explains them; no patient's image among them.

    Answers are kept in the cache, so that figures are drawn again at once while bundles and data stay as they are.
    """
    from training.report.assemble import draw_patients, write_report

    if with_images is not None and with_images.resolve().is_relative_to(out.resolve()):
        raise typer.BadParameter("patients' images do not belong into the report", param_hint="--with-images")
    console.print(str(write_report(data, models, out, split, runs or (), paper)), markup=False)
    if with_images is not None:
        draw_patients(data, models, with_images, split, runs or ())
        console.print(str(with_images), markup=False)
