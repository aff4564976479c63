"""The answer of ``POST /v1/analyses``: class and outline of one slice, and whether they contradict each other."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from pydantic import ConfigDict, Field

from core.contracts.base import DISCLAIMER, Contract, may_lack
from core.contracts.classification import Classification
from core.contracts.common import InputCheckResult
from core.contracts.problem import Problem
from core.contracts.segmentation import Candidate, Segmentation

Fault = Literal["outline-empty", "class-no-tumor-but-outlined"]
Agreement = Literal["agree", "outline-empty", "class-no-tumor-but-outlined"]
HEALTHY: Final = "no_tumor"
"""The label that denies a tumour."""

_JUDGE: Final = "One of the two is wrong: look at the slice."
_WITH_CANDIDATE: Final = "The candidate, where a tumour is likeliest, is no outline, and wrong about as often as right."
_WITHOUT_CANDIDATE: Final = "Nowhere is a tumour likely enough to be offered as a candidate."


class Contradiction(Contract):
    """How class and outline contradict each other: ``detail`` says in words what ``code`` says to programs.

    ``candidate`` is that of the segmentation where the class speaks for a tumour and none is outlined; else None.
    """

    code: Fault
    detail: str
    candidate: Candidate | None


class Analysis(Contract):
    """What one slice shows: both parts as ``/v1/classifications`` and ``/v1/segmentations`` answer them.

    ``input_check`` is that of the two parts which finds the image less familiar. ``agreement`` is ``agree``, or the
    code of ``contradiction``.
    """

    classification: Classification
    segmentation: Segmentation
    input_check: InputCheckResult
    agreement: Agreement
    contradiction: Contradiction | None
    request_id: str
    disclaimer: str = DISCLAIMER


class AnalysisItem(Contract):
    """What came of one file of several: ``answer`` with status 200, else ``problem``; ``index`` counts from 0."""

    model_config = ConfigDict(json_schema_extra=may_lack("answer", "problem"))

    index: int = Field(ge=0)
    status: int = Field(ge=200, le=599)
    answer: Analysis | None = None
    problem: Problem | None = None


class AnalysisBatch(Contract):
    """The answer to several files: one item each, in the order in which they came."""

    items: tuple[AnalysisItem, ...]
    request_id: str
    disclaimer: str = DISCLAIMER


def find_fault(label: str, labels: Collection[str], *, outlined: bool) -> Fault | None:
    """How the class ``label`` and an outline, of something or of nothing, contradict each other; None if they agree.

    A model whose ``labels`` hold none for a healthy slice names a tumour in any case, so it contradicts nothing.
    """
    if HEALTHY not in labels or (label == HEALTHY) is not outlined:
        return None
    return "class-no-tumor-but-outlined" if outlined else "outline-empty"


def describe_fault(fault: Fault, label: str, probability: float, candidate: Candidate | None) -> Contradiction:
    """``fault`` in words that give the ``probability`` of the class, so that none sounds surer than it is."""
    said = f"The likeliest class is {label} (probability {probability:.2f})"
    if fault == "class-no-tumor-but-outlined":
        return Contradiction(code=fault, detail=f"{said}, but a tumour is outlined. {_JUDGE}", candidate=None)
    offer = _WITHOUT_CANDIDATE if candidate is None else _WITH_CANDIDATE
    return Contradiction(code=fault, detail=f"{said}, but no tumour is outlined. {_JUDGE} {offer}", candidate=candidate)


def least_familiar(*checks: InputCheckResult) -> InputCheckResult:
    """The check with the lowest score, the first of equal ones."""
    return min(checks, key=lambda check: check.score)
