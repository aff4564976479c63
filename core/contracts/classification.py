"""The answer of ``POST /v1/classifications``."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from core.contracts.base import DISCLAIMER, Contract, may_lack
from core.contracts.common import InputCheckResult, ModelIdentity, TimingMs
from core.contracts.problem import Problem


class Explanation(Contract):
    """A class activation map laid over the image; ``data`` is a base64 PNG in the image's own pixels."""

    kind: Literal["cam"] = "cam"
    media_type: Literal["image/png"] = "image/png"
    data: str


class Classification(Contract):
    """Over many exchangeable images, a share ``coverage`` of the prediction sets holds the true label (conformal).

    That is no probability of one answer, which ``probability`` is.
    """

    model_config = ConfigDict(json_schema_extra=may_lack("explanation"))

    label: str
    probability: float = Field(ge=0, le=1)
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    coverage: float | None
    input_check: InputCheckResult
    explanation: Explanation | None = None
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
