"""How much of the queue and of the store one owner may have."""

from __future__ import annotations

from pydantic import Field

from core.contracts.base import Contract

_GIB = 1024**3


class JobQuota(Contract):
    """What one owner may have at a time. More than ``running`` jobs wait; beyond the others a job is refused."""

    waiting: int = Field(default=50, ge=1, description="Jobs that wait.")
    running: int = Field(default=8, ge=1, description="Jobs that run.")
    stored_bytes: int = Field(
        default=64 * _GIB, ge=0, description="Bytes of inputs and results, until they are erased."
    )
