"""Which series of a study is which sequence: the answer of the dry run, in the words of a job's report."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from core.contracts.base import DISCLAIMER, Contract
from core.contracts.sequences import SequenceName

_UID = "SeriesInstanceUID."
REASONS: Final = "Each begins with the name of an entry of the table of evidence, and says what it means."

Confidence = Literal["high", "medium", "low"]


class SeriesAlternative(Contract):
    """A series that was not chosen for a sequence."""

    uid: str = Field(description=_UID)
    number: int | None = Field(default=None, description="SeriesNumber.")
    slices: int = Field(ge=0)
    score: float = Field(description="Points for the sequence that it is likeliest to be.")
    reasons: tuple[str, ...] = Field(description=f"Why it was not chosen, then what was found. {REASONS}")


class SequenceChoice(Contract):
    """What a job takes for one sequence. Without a series for it, ``uid`` is null and ``missing`` says why."""

    sequence: SequenceName
    uid: str | None = Field(default=None, description=_UID)
    number: int | None = Field(default=None, description="SeriesNumber.")
    slices: int | None = Field(default=None, ge=0, description="Slices that are used.")
    frame_of_reference: str | None = Field(default=None, description="FrameOfReferenceUID.")
    score: float | None = Field(default=None, description="Points; null where the caller named the series.")
    confidence: Confidence | None = None
    reasons: tuple[str, ...] = Field(default=(), description=f"Why it was chosen. {REASONS}")
    alternatives: tuple[SeriesAlternative, ...] = Field(
        default=(), description="What else might be it, likeliest first."
    )
    missing: tuple[str, ...] = Field(default=(), description=f"Why there is none. {REASONS}")


class SelectionRefusal(Contract):
    """Why a job with this study would fail: the code and the detail of its problem."""

    code: str
    detail: str


class SeriesSelection(Contract):
    """Answer of ``POST /v1/series-selection``: a choice for each of the four sequences."""

    sequences: tuple[SequenceChoice, ...]
    warnings: tuple[str, ...] = ()
    refusal: SelectionRefusal | None = None
    disclaimer: str = DISCLAIMER
