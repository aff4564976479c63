"""Settings of the classifier: those of every model server, on a port of its own."""

from __future__ import annotations

from pydantic import Field

from core.serving.settings import ModelServingSettings


class ClassifierSettings(ModelServingSettings):
    """Each field is an environment variable ``FALX_<NAME>``."""

    port: int = Field(default=8001, ge=0, le=65535, description="TCP port; 0 takes any free one.")
