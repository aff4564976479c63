"""Settings of the gateway, on top of those of every service. Each is an environment variable ``FALX_<NAME>``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from limits import parse
from pydantic import AfterValidator, Field, HttpUrl, StringConstraints, field_validator
from pydantic_settings import NoDecode

from core.blobs.settings import BlobSettings
from core.contracts.jobs import Slug
from core.http.settings import MIB, ServingSettings
from core.jobs.settings import QueueSettings


def _known_rate(text: str) -> str:
    parse(text)  # raises ValueError, which pydantic reports with the name of the setting
    return text


Rate = Annotated[str, AfterValidator(_known_rate)]
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^/\s]+)$")]


class GatewaySettings(QueueSettings, BlobSettings, ServingSettings):
    """What the gateway reads at its start; a wrong value stops the start."""

    classifier_url: HttpUrl = Field(
        default=HttpUrl("http://127.0.0.1:8001"), description="Classifier service, or the balancer before its replicas."
    )
    segmenter_url: HttpUrl = Field(
        default=HttpUrl("http://127.0.0.1:8002"), description="Segmenter service, or the balancer before its replicas."
    )

    api_keys_file: Path | None = Field(
        default=None,
        description="TOML or JSON file of key records (id, sha256, scopes, expires), read again when it changes. Once "
        "set, every call of the API needs a key, even while the file is empty.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Start without keys on an address that other machines reach. Unsafe: whoever reaches the port may "
        "use it. Meant for a private container network behind an authenticating proxy.",
    )
    audit_log: str = Field(
        default="stdout",
        description="Where one JSON line a request of the API goes: who (the key's id, or the address), operation, "
        "job, status, time; no patient data. stdout, a file (followed when it is moved, so logrotate may), or off. "
        "`make run` sets it to logs/audit.log of its data folder.",
    )
    metrics_public: bool = Field(
        default=False,
        description="Serve /metrics without a key. Otherwise it needs the scope admin as soon as keys are configured.",
    )
    rate_limit: Rate | None = Field(
        default=None,
        description='Inference requests per caller, such as "600/minute"; unset is no limit. A caller is a key, or an '
        "address where no keys are configured. Counted in this process alone.",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = Field(
        default=(),
        description="Web origins whose scripts may call the API, such as https://viewer.example.org, separated by "
        "commas; empty switches CORS off. The page served at / needs none.",
    )

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names besides those of this machine (localhost, 127.0.0.1, [::1]) under which a gateway without "
        "keys answers, separated by commas; * is any. With keys every name is answered. A page could otherwise reach "
        "the gateway through a name of its own that leads to this machine.",
    )

    max_request_bytes: int = Field(
        default=176 * MIB,
        ge=1024,
        description="Size of one body above which it gets 413, counted while it streams. Room for four sequences of "
        "32 MiB in base64; the model servers have the finer limits, per image.",
    )
    job_types: Annotated[tuple[Slug, ...], NoDecode] = Field(
        default=("segmentation",),
        min_length=1,
        description="Types of jobs that are taken in, separated by commas: those that the workers know.",
    )
    max_volume_bytes: int = Field(
        default=512 * MIB, ge=1024, description="Size of one part of a job, a volume or a zipped study; above it 413."
    )
    max_job_bytes: int = Field(
        default=1024 * MIB, ge=1024, description="Size of all parts of a job together; above it 413."
    )
    max_uploads: int = Field(
        default=16,
        ge=1,
        description="Jobs whose bodies are taken in at once; more wait for their turn. Memory: up to 24 MiB each.",
    )
    upload_wait_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Seconds that an upload waits for its turn; then it gets 503 with Retry-After.",
    )
    upload_idle_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds without a byte after which an upload is given up with 408, so that silent ones do not "
        "keep everybody else's out. It gets as long to come up to its least rate.",
    )
    upload_least_rate: int = Field(
        default=4096,
        ge=0,
        description="Bytes a second that an upload must come to on average after its first upload_idle_s; slower it is "
        "given up with 408.",
    )
    upload_timeout_s: float = Field(
        default=3600.0,
        gt=0,
        description="Longest upload of one job that brings no X-Request-Timeout-Ms. What a broken-off one left behind "
        "is erased at twice that age.",
    )
    replay_limit_bytes: int = Field(
        default=MIB,
        ge=0,
        description="Bodies up to here are held while their request runs, so that it can be sent again when a model "
        "server goes away. Memory: this much per request in flight.",
    )
    max_request_timeout_s: float = Field(
        default=300.0,
        gt=0,
        le=600,
        description="Longest deadline granted; a longer X-Request-Timeout-Ms is cut to it, so that no caller holds a "
        "connection for ever.",
    )
    connect_timeout_s: float = Field(
        default=2.0, gt=0, le=60, description="Seconds to connect to a model server before it counts as unreachable."
    )
    upstream_connections: int = Field(
        default=512,
        ge=1,
        description="Connections to the model servers, all together. More requests than that wait for one. Above the "
        "queues of all replicas, or callers wait here instead of getting 429.",
    )
    upstream_keepalive_s: float = Field(
        default=15.0,
        gt=0,
        description="Seconds that an idle connection to a model server is kept. Below keep_alive_s of the model "
        "servers and the idle limit of a balancer, so that no request meets a closing connection.",
    )
    circuit_failures: int = Field(
        default=5, ge=1, description="Failed connections in a row after which a model server is not asked for a while."
    )
    circuit_reset_s: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="Seconds until one request is let through to see whether it is back; what Retry-After counts down.",
    )
    catalogue_ttl_s: float = Field(
        default=3.0, ge=0, description="Seconds that the list of models is kept before it is gathered again."
    )
    probe_timeout_s: float = Field(
        default=2.0, gt=0, le=30, description="Seconds that a model server has to tell its models and readiness."
    )
    readiness_interval_s: float = Field(
        default=1.0, gt=0, le=60, description="Seconds between two looks at the readiness of the model servers."
    )
    problems_file: Path | None = Field(
        default=None, description="Markdown source of /docs/problems; unset is docs/problems.md of the installation."
    )

    @field_validator("allowed_hosts", "cors_origins", "job_types", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value
