"""Settings that every model server reads on top of those of an HTTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from core.contracts.manifest import Wanted
from core.http.settings import MIB, ServingSettings


class ModelServingSettings(ServingSettings):
    """What a model server reads on top."""

    models_dir: Path = Field(default=Path("models"), description="Folder with the bundles, NAME/VERSION/manifest.json.")
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names of the bundles to serve, separated by commas, the default model first; empty serves all of "
        "the task.",
    )
    precision: Literal["auto", "reference", "int8"] = Field(
        default="auto",
        description="Weights to run. auto takes int8 on a CPU where its manifest says that it passed the gate; "
        "int8 wherever a bundle has it.",
    )
    require_cuda: bool = Field(
        default=False,
        description="As FALX_PROVIDER=cuda: refuse to start without CUDA. Without this, ONNX Runtime falls back to the "
        "CPU silently.",
    )
    provider: Wanted = Field(
        default="builtin",
        description="What runs the networks. builtin takes CUDA where it is, else the CPU. auto does so too and "
        "changes from the CPU to the OpenVINO plug-in where that is installed, agrees and is faster. cpu and cuda take "
        "theirs alone; openvino takes the plug-in, however slow, for each graph that it agrees on, and the CPU for the "
        "others. openvino and cuda refuse to start where theirs cannot be had.",
    )
    gate_dir: Path | None = Field(
        default=None,
        description="Folder that keeps what was measured of the OpenVINO plug-in, for all processes of a machine; "
        "unset measures anew at each start, behind the CPU, which serves meanwhile.",
    )
    max_queue: int = Field(
        default=64,
        ge=1,
        description="Images admitted at once, decoding included; above it a request gets 429 with Retry-After. More "
        "only lengthens the wait and the memory held.",
    )
    max_batch: int | None = Field(
        default=None, ge=1, description="Images per run; unset is measured at warm-up, per provider."
    )
    decode_threads: int | None = Field(
        default=None, ge=1, description="Threads that decode images; unset is one per usable core, at most 4."
    )
    lone_threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads that a run on the CPU is split over while no other image waits or runs; unset is one per "
        "usable core, at most 4. 1 saves the memory of a second copy of each network.",
    )
    max_image_bytes: int = Field(default=32 * MIB, ge=1024, description="Size of one upload above which it gets 413.")
    max_files_per_request: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Images in one call, each in a part file of its own; more get 413, as does a call whose files are "
        "together larger than four images may be. Of the two limits this and max_queue the lower one holds.",
    )
    max_image_pixels: int = Field(
        default=24_000_000, ge=1, description="Pixels of one image, read from its header before any pixel is decoded."
    )
    max_image_side: int = Field(default=16_384, ge=1, description="Pixels of the longer side of one image.")

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value
