"""Settings of the service of slices, each an environment variable ``FALX_<NAME>``; units are in the names."""

from __future__ import annotations

from pydantic import Field

from core.serving.settings import ModelServingSettings


class SegmenterSettings(ModelServingSettings):
    """What the service of slices reads: that of every model server, on a port of its own."""

    port: int = Field(default=8002, ge=0, le=65535, description="TCP port; 0 takes any free one.")
