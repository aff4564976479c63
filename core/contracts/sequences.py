"""The sequences of a brain MRI that Falx tells apart, and their orders."""

from __future__ import annotations

from typing import Final, Literal, get_args

SequenceName = Literal["t1", "t1ce", "t2", "flair"]

SEQUENCES: Final[tuple[str, ...]] = get_args(SequenceName)
"""In the order of channels; ``t1ce`` is T1 after contrast."""

REFERENCE_ORDER: Final[tuple[str, ...]] = ("t1ce", "flair", "t1", "t2")
"""Results come on the grid of the first of these that was given, unless the caller names another."""

CLASSIFIED_ORDER: Final[tuple[SequenceName, ...]] = ("t1ce", "t1", "t2", "flair")
"""The class is told from the first of these that was given: it is right oftenest on it (docs/adr/0043)."""

BACKDROP_ORDER: Final[tuple[str, ...]] = ("flair", "t1ce", "t2", "t1")
"""Pictures show the first of these that was given: tumours stand out most on it."""
