"""The answer of ``POST /v1/classifications``."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field

from core.contracts.base import DISCLAIMER, Contract, may_lack
from core.contracts.common import InputCheckResult, ModelIdentity, TimingMs
from core.contracts.problem import Problem
from core.contracts.sequences import SequenceName


class Explanation(Contract):
    """A class activation map laid over the image; ``data`` is a base64 PNG in the image's own pixels."""

    kind: Literal["cam"] = "cam"
    media_type: Literal["image/png"] = "image/png"
    data: str


MAY_LACK: Final = ("explanation", "sequence")
"""Fields of a classification that are left out of an answer where they would be null."""


class Classification(Contract):
    """Over many exchangeable images, a share ``coverage`` of the prediction sets holds the true label (conformal).

    That is no probability of one answer, which ``probability`` is. ``sequence`` is the one that was classified where
    several could have been; it is there in analyses of named sequences alone.
    """

    model_config = ConfigDict(json_schema_extra=may_lack(*MAY_LACK))

    label: str
    probability: float = Field(ge=0, le=1)
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    coverage: float | None
    input_check: InputCheckResult
    explanation: Explanation | None = None
    sequence: SequenceName | None = None
    model: ModelIdentity
    timing_ms: TimingMs
    warnings: tuple[str, ...] = ()
    request_id: str
    disclaimer: str = DISCLAIMER


class ClassificationItem(Contract):
    """What came of one file of several: ``answer`` with status 200, else ``problem``; ``index`` counts from 0."""

    model_config = ConfigDict(json_schema_extra=may_lack("answer", "problem"))

    index: int = Field(ge=0)
    status: int = Field(ge=200, le=599)
    answer: Classification | None = None
    problem: Problem | None = None


class ClassificationBatch(Contract):
    """The answer to several files: one item each, in the order in which they came."""

    items: tuple[ClassificationItem, ...]
    request_id: str
    disclaimer: str = DISCLAIMER
