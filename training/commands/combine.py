"""``python -m training combine`` and ``second-reader``: trained networks together, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import WrittenRunOption, refusing

MemberOption = Annotated[list[Path], typer.Option("--member", help="Run or bundle of a classifier; give two or more.")]
ShareOption = Annotated[
    list[float] | None, typer.Option("--share", help="Weight of each member, in their order; by default all alike.")
]
SizeOption = Annotated[
    int | None, typer.Option("--size", help="Side of the input that all are shown, if not all were trained at one.")
]


def combine_command(
    member: MemberOption, run: WrittenRunOption, share: ShareOption = None, size: SizeOption = None
) -> None:
    """Classifiers of the same labels as one network that answers with their mean."""
    from training.bundle.combine import combine

    with refusing("--member"):
        combine(member, run, share, size)


def second_reader_command(
    first: Annotated[Path, typer.Option("--first", help="Run or bundle of the segmenter that answers.")],
    second: Annotated[Path, typer.Option("--second", help="Run or bundle of the segmenter that it asks.")],
    run: WrittenRunOption,
) -> None:
    """A segmenter that asks another one where T1, T1 post-contrast and FLAIR are all shown."""
    from training.bundle.combine import second_reader

    with refusing():
        second_reader(first, second, run)
