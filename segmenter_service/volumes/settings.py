"""Settings of the worker and its jobs, each an environment variable ``FALX_<NAME>``; units are in the names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from core.contracts.manifest import Wanted
from core.http.settings import ServingSettings


class VolumeSettings(ServingSettings):
    """What the worker and its jobs read; the port serves /livez, /readyz and /metrics alone."""

    port: int = Field(default=8003, ge=0, le=65535, description="TCP port; 0 takes any free one.")
    models_dir: Path = Field(default=Path("models"), description="Folder with the bundles, NAME/VERSION/manifest.json.")
    precision: Literal["auto", "reference", "int8"] = Field(
        default="auto",
        description="Weights to run. auto takes int8 on a CPU where its manifest says that it passed the gate; "
        "int8 wherever a bundle has it.",
    )
    require_cuda: bool = Field(
        default=False,
        description="Refuse to start without CUDA. Without this, ONNX Runtime falls back to the CPU silently.",
    )
    provider: Wanted = Field(
        default="builtin",
        description="As for the model servers, but never the OpenVINO plug-in, which answers otherwise for volumes: "
        "auto is builtin here, and openvino the CPU.",
    )
    volume_model: str | None = Field(
        default=None,
        description="Name of the bundle that segments volumes; unset takes the first by name. Its newest version runs.",
    )
    volume_batch: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Windows in one run; unset is 1 on a CPU, where more only take more memory, and 4 on CUDA, or of a "
        "network that is shown columns of windows 10 in int8 or 4, and 16 on CUDA.",
    )
    volume_mirroring: bool = Field(
        default=False,
        description="Run each window a second time with left and right exchanged and take the mean: twice the time.",
    )
    dicom_labelmap: bool = Field(
        default=False,
        description="Write segmentations as LABELMAP in place of BINARY, where jobs ask for results as DICOM: smaller, "
        "and newer than many archives and viewers know.",
    )
    dicom_presentation: bool = Field(
        default=False,
        description="Write a Grayscale Softcopy Presentation State with the outlines as well, outlines.pr.dcm.",
    )
