"""The sequences of a brain MRI that Falx tells apart, and their orders."""

from __future__ import annotations

from typing import Final, Literal, get_args

SequenceName = Literal["t1", "t1ce", "t2", "flair"]

SEQUENCES: Final[tuple[str, ...]] = get_args(SequenceName)
"""In the order of channels; ``t1ce`` is T1 after contrast."""

REFERENCE_ORDER: Final[tuple[str, ...]] = ("t1ce", "flair", "t1", "t2")
"""Results come on the grid of the first of these that was given, unless the caller names another."""

CLASSIFIED_ORDER: Final[tuple[SequenceName, ...]] = ("t1ce", "flair", "t2", "t1")
"""The class is told from the first of these that was given: most of what it was learnt from is T1 after contrast."""

BACKDROP_ORDER: Final[tuple[str, ...]] = ("flair", "t1ce", "t2", "t1")
"""Pictures show the first of these that was given: tumours stand out most on it."""
