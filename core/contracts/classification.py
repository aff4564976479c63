"""The answer of ``POST /v1/classifications``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.contracts.base import DISCLAIMER, Contract
from core.contracts.common import InputCheckResult, ModelIdentity, TimingMs


class Explanation(Contract):
    """A class activation map laid over the image; ``data`` is a base64 PNG in the image's own pixels."""

    kind: Literal["cam"] = "cam"
    media_type: Literal["image/png"] = "image/png"
    data: str


class Classification(Contract):
    """Over many exchangeable images, a share ``coverage`` of the prediction sets holds the true label (conformal).

    That is no probability of one answer, which ``probability`` is.
    """

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
