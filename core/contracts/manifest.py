"""``manifest.json``: what a model bundle says of itself. Frozen, versioned, verified at load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.contracts.base import Contract

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Variant = Literal["reference", "int8"]


class BundleFile(Contract):
    """One file of the bundle. ``reference`` stores fp16 weights and computes in float32."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    sha256: Sha256
    variant: Variant
    size_bytes: int = Field(gt=0)
    # int8 only: met the gate (top-1 agreement >= 0.995, |change of Dice| <= 0.005), so it is the default on CPU.
    passes_gate: bool = True
    # Measured against the reference on the validation split, e.g. {"top1_agreement": 0.998}.
    agreement: dict[str, float] = Field(default_factory=dict)


class ClassificationPreprocessing(Contract):
    """Parameters of ``core.imaging.transforms.prepare_classification``."""

    kind: Literal["classification"] = "classification"
    size: int = Field(gt=0)
    percentiles: tuple[float, float] = (1.0, 99.5)
    head_margin: float = Field(default=0.02, ge=0)


class SegmentationPreprocessing(Contract):
    """Parameters of ``core.imaging.transforms.prepare_segmentation``."""

    kind: Literal["segmentation"] = "segmentation"
    size: int = Field(gt=0)
    sequences: tuple[str, ...] = ("t1", "t1ce", "t2", "flair")
    percentiles: tuple[float, float] = (1.0, 99.0)
    head_margin: float = Field(default=0.02, ge=0)


Preprocessing = Annotated[ClassificationPreprocessing | SegmentationPreprocessing, Field(discriminator="kind")]


class InputCheck(Contract):
    """Thresholds above which an input is called out of distribution (set at 99 % acceptance of validation)."""

    max_distance: float
    max_energy: float | None = None


class Calibration(Contract):
    """Temperature is already folded into ``logits``; kept here for the record."""

    temperature: float = Field(gt=0)
    # Conformal: a label is in the set when 1 - probability <= quantile.
    conformal_quantile: float | None = Field(default=None, ge=0, le=1)
    coverage: float | None = Field(default=None, gt=0, lt=1)


class Metric(Contract):
    """One measured number with the split it was measured on; the interval is 95 %, bootstrap over groups."""

    name: str
    value: float
    data_set: str
    split: str
    count: int = Field(gt=0)
    count_unit: str = "slices"
    interval: tuple[float, float] | None = None


class Manifest(Contract):
    """A bundle's identity, files, input contract and evidence."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str = Field(pattern=r"^[0-9A-Za-z.]+$")
    task: Literal["classification", "segmentation"]
    architecture: str
    title: str
    files: tuple[BundleFile, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    # Class names in the order of the logits (classification), or region names (segmentation).
    labels: tuple[str, ...] = Field(min_length=1)
    calibration: Calibration | None = None
    input_check: InputCheck | None = None
    # Segmentation: probability above which a pixel is tumour, from validation.
    threshold: float | None = Field(default=None, gt=0, lt=1)
    metrics: tuple[Metric, ...] = ()
    data_sets: tuple[str, ...] = ()
    licence: str
    intended_use: str = "Research use only. Not a medical device."
    training_commit: str | None = None

    @model_validator(mode="after")
    def _task_matches_preprocessing(self) -> Manifest:
        if self.preprocessing.kind != self.task:
            raise ValueError(f"preprocessing is for {self.preprocessing.kind}, the task is {self.task}")
        return self
