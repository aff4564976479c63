"""What the steps after training leave in a run folder for the next one: small JSON records."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from core.contracts.manifest import Metric, Variant, VolumePreprocessing

REFERENCE_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"

KindName = Literal["classifier", "segmenter", "volume-segmenter"]


def graph_files(run: Path) -> dict[Variant, Path]:
    """The graph files of an exported run; int8 where there is one."""
    files: dict[Variant, Path] = {"reference": run / REFERENCE_FILE, "int8": run / INT8_FILE}
    return {variant: path for variant, path in files.items() if variant == "reference" or path.exists()}


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Part(BaseModel):
    """What a record is made of: fixed once made, and with no field that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(Part):
    """A JSON file of the run folder, named by the class."""

    @classmethod
    def path(cls, run: Path) -> Path:
        """Where it lies."""
        return run / f"{cls.__name__.lower()}.json"

    @classmethod
    def read(cls, run: Path) -> Self:
        """Load it; a missing file names the step to run first."""
        path = cls.path(run)
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run `python -m training {cls.__name__.lower()}` first")
        return cls.model_validate_json(path.read_text())

    def write(self, run: Path) -> None:
        """Save it."""
        self.path(run).write_text(self.model_dump_json(indent=2) + "\n")


class Export(Record):
    """Made by ``export``: all that the graph does not say of itself."""

    kind: KindName
    # Name in ``training.networks.registry``, and how it was trained.
    architecture: str
    preset: str = "falx"
    multitask: bool = False
    # Side of the input, chosen on validation for slices.
    size: int
    labels: tuple[str, ...]
    # Largest difference between the exported graph and torch with the same (fp16-rounded) weights.
    parity: float
    # Largest difference of the outputs that rounding the weights to fp16 makes.
    rounding: float
    # Images seen in training.
    images_seen: int
    # Validation figures by candidate size, which the choice rests on.
    sizes: dict[str, float]
    # Classifier alone.
    temperature: float | None = None
    conformal_quantile: float | None = None
    coverage: float | None = None
    max_distance: float | None = None
    max_energy: float | None = None
    # Segmenter alone.
    threshold: float | None = None
    # Volume segmenter alone: ``size`` is the side of its window. One threshold a region.
    volume: VolumePreprocessing | None = None
    thresholds: tuple[float, ...] | None = None
    smallest_component_ml: float = 0.0
    smallest_enhancing_ml: float = 0.0
    # By region of the report its mean Dice on validation.
    validated_dice: dict[str, Metric] = {}


class Quantize(Record):
    """Made by ``quantize``: how the int8 graph compares with the reference on validation."""

    passes_gate: bool
    agreement: dict[str, float]
    # Nodes kept in float so that the gate holds.
    float_nodes: int
    calibration_images: int


class Failure(Part):
    """One item that a model was wrong about: an image or a patient, where it is from, what is true, what was said."""

    name: str
    data_set: str
    truth: str
    answer: str


class Evaluate(Record):
    """Made by ``evaluate``: figures of the graph files on one split."""

    split: str
    reference: tuple[Metric, ...]
    int8: tuple[Metric, ...] = ()
    # Confusion matrix of the reference (rows: truth), classifier alone.
    confusion: tuple[tuple[int, ...], ...] = ()
    # The worst answers of the reference.
    failures: tuple[Failure, ...] = ()
