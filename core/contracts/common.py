"""Parts that every answer of a model shares."""

from __future__ import annotations

from pydantic import Field

from core.contracts.base import Contract


class ModelIdentity(Contract):
    """Which weights answered, and where they ran. ``sha256`` is of the ONNX file in use."""

    name: str
    version: str
    sha256: str
    provider: str
    variant: str


class TimingMs(Contract):
    """Milliseconds spent per step, as seen by the model server."""

    decode: float = Field(ge=0)
    queue: float = Field(ge=0)
    inference: float = Field(ge=0)


class InputCheckResult(Contract):
    """Whether the image looks like what the model was trained on; ``score`` in [0, 1], higher is more familiar."""

    in_distribution: bool
    score: float = Field(ge=0, le=1)
    reasons: tuple[str, ...] = ()
