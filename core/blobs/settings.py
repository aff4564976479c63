"""Settings of the store, each an environment variable ``FALX_<NAME>``; units are in the names."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

GIB = 1024**3


class BlobSettings(BaseSettings):
    """What gateway and workers must agree on. Keys of an S3 store are read from the usual ``AWS_*`` variables."""

    model_config = SettingsConfigDict(env_prefix="FALX_", env_ignore_empty=True, frozen=True, extra="ignore")

    blobs_url: str = Field(
        default=".falx/blobs",
        description="Folder, file:// or s3://BUCKET[/PREFIX] that holds inputs and results of jobs. Several machines "
        "need an S3-compatible store.",
    )
    blobs_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Address of an S3-compatible store other than AWS, for instance http://minio:9000.",
    )
    blobs_max_bytes: int | None = Field(
        default=None, ge=1, description="Bytes that all blobs may take together; above it a request gets 507."
    )
    blobs_min_free_bytes: int = Field(
        default=GIB // 2,
        ge=0,
        description="Bytes that stay free on the disk of a local store. The queue's own files often lie on it, too.",
    )
