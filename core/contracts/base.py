"""What every type that crosses a wire shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

DISCLAIMER = "Research use only. Not a medical device."


class Contract(BaseModel):
    """Immutable and closed: an unknown field is an error, so a typo never passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")
