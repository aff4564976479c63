"""Commands that make evidence: candidates on grouped folds, and the paper's networks under one budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import (
    DataOption,
    DeviceOption,
    PhotographsOption,
    ThreadsOption,
    console,
    refusing,
    use_threads,
)

RunsOption = Annotated[Path, typer.Option("--runs", help="Folder of N-folds, made and found again.")]
CountOption = Annotated[int, typer.Option("--folds", help="How many.", min=2)]
SeedOption = Annotated[int, typer.Option("--seed", help="Another seed, other folds.")]
PatientsOption = Annotated[
    Path | None,
    typer.Option("--patients", help="Table of name and patient, for slices whose patient is not told.", exists=True),
]


def folds_command(
    names: Annotated[list[str], typer.Argument(metavar="RECIPE[:STEP]...", help="Candidates, the first to beat.")],
    data: DataOption,
    runs: RunsOption = Path("runs"),
    count: CountOption = 5,
    fold: Annotated[
        list[int] | None, typer.Option("--fold", help="Train this one alone; may be repeated. By default all.")
    ] = None,
    seed: SeedOption = 0,
    patients: PatientsOption = None,
    report_only: Annotated[bool, typer.Option("--report-only", help="Train nothing; report what is there.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Make anew what was made from other settings.")] = False,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    photographs: PhotographsOption = None,
) -> None:
    """Train recipes on all folds but one, answer on that one, and report. Goes on where it was interrupted."""
    from training.folds.report import evidence_of, evidence_page
    from training.folds.run import Candidate, gather, train_fold
    from training.folds.view import open_folds
    from training.make import Kitchen

    use_threads(threads)
    with refusing():
        candidates = [Candidate.named(name) for name in names]
        folds = open_folds(data, runs, count, seed, patients)
        kitchen = Kitchen(data, runs, runs, device, redo, photographs, console)
        for place in () if report_only else fold or range(count):
            for candidate in candidates:
                console.print(f"{candidate.name}, fold {place}", markup=False)
                train_fold(candidate, folds, place, kitchen)
        evidence = evidence_of(gather(candidates, folds), folds)
    evidence.write(folds.folder)
    page = folds.folder / "evidence.md"
    page.write_text(evidence_page(evidence))
    console.print(page.read_text(), markup=False)
    console.print(str(page), markup=False)


def compare_command(
    data: DataOption,
    runs: RunsOption = Path("runs"),
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Training and validation of each network; 60 without --images.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", help="Slices shown to each instead: repeatable to the bit.", min=1)
    ] = None,
    size: Annotated[int, typer.Option("--size", help="Side of the input in pixels.", min=32)] = 160,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="One of the networks; may be repeated. By default all.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="NAME=RUN", help="A run of the same fold to set beside them; may be repeated."),
    ] = None,
    count: CountOption = 5,
    fold: Annotated[int, typer.Option("--fold", help="The fold that is held out.", min=0)] = 0,
    seed: SeedOption = 0,
    patients: PatientsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder that page and JSON are published in; not of a trial.")
    ] = None,
    paper: Annotated[
        Path | None, typer.Option("--paper", help="Markdown file whose tables are written anew.", exists=True)
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Make anew what was made from other settings.")] = False,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    bf16: Annotated[bool, typer.Option("--bf16", help="bfloat16 autocast: for CUDA and CPUs with AMX.")] = False,
) -> None:
    """Train the paper's networks from noise under one budget, on one fold, and set them side by side."""
    from training.comparison.networks import Budget
    from training.comparison.page import publish
    from training.comparison.run import compare_networks
    from training.folds.view import open_folds
    from training.make import Kitchen

    use_threads(threads)
    minutes = 60.0 if minutes is None and images is None else minutes
    with refusing():
        budget = Budget(
            minutes=minutes, images=images, size=size, threads=threads_in_use(), bfloat16=bf16, device=device
        )
        if (out or paper) and not budget.full:
            raise ValueError(f"{budget.told()} is a trial: it is not published, leave --out and --paper out")
        folds = open_folds(data, runs, count, seed, patients)
        kitchen = Kitchen(data, runs, runs, device, redo, console=console)
        found = compare_networks(folds, fold, budget, kitchen, only or (), named_runs(also or []))
    page = publish(found, out or folds.of(fold) / "comparison", paper)
    console.print(page.read_text(), markup=False)
    console.print(str(page), markup=False)


def named_runs(pairs: list[str]) -> dict[str, Path]:
    """Runs by name, of NAME=RUN. Raises ValueError for one without a name or a run."""
    found = {name: Path(run) for name, _, run in (pair.partition("=") for pair in pairs) if name and run}
    if len(found) < len(pairs):
        raise ValueError("--also takes NAME=RUN, each name once")
    return found


def threads_in_use() -> int:
    """How many threads torch computes with."""
    import torch

    return torch.get_num_threads()
