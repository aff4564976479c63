"""Settings of the service of slices, each an environment variable ``FALX_<NAME>``; units are in the names."""

from __future__ import annotations

from pydantic import Field

from core.http.settings import MIB
from core.serving.settings import ModelServingSettings


class SegmenterSettings(ModelServingSettings):
    """What the service of slices reads: that of every model server, on a port of its own."""

    port: int = Field(default=8002, ge=0, le=65535, description="TCP port; 0 takes any free one.")
    max_volume_bytes: int = Field(
        default=512 * MIB,
        ge=1024,
        description="Size of one part of a job, a volume or a zipped study; above it 413.",
    )
    max_metadata_bytes: int = Field(
        default=32 * MIB, ge=1024, description="Size of the metadata of a study in DICOM JSON; above it 413."
    )
    max_selections: int = Field(
        default=2, ge=1, description="Studies looked at at once; above it 429 with Retry-After."
    )
