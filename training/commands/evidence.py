"""Commands that make evidence: candidates on grouped folds, and the paper's networks under one budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import DataOption, DeviceOption, ThreadsOption, console, refusing, use_threads

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
        for place in () if report_only else fold or range(count):
            for candidate in candidates:
                console.print(f"{candidate.name}, fold {place}", markup=False)
                train_fold(candidate, folds, place, Kitchen(data, runs, runs, device, redo, console))
        evidence = evidence_of(gather(candidates, folds), folds)
    evidence.write(folds.folder)
    page = folds.folder / "evidence.md"
    page.write_text(evidence_page(evidence))
    console.print(page.read_text(), markup=False)
    console.print(str(page), markup=False)
