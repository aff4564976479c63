"""``manifest.json``: what a model bundle says of itself. Frozen, versioned, verified at load."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from core.contracts.base import Contract
from core.contracts.regions import REGIONS
from core.contracts.sequences import SEQUENCES

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Variant = Literal["reference", "int8"]
Wanted = Literal["builtin", "auto", "cpu", "openvino", "cuda"]
"""What an operator may ask to run it; ``builtin`` is CUDA where it is, else the CPU, and nothing besides."""
Millimetres = Annotated[float, Field(gt=0)]
_EVEN_ODDS = 0.5
# The split that nothing was trained on and everything is chosen on.
VALIDATION = "val"
# NAME/VERSION, as bundles lie in the models folder.
BundleAddress = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*/[0-9A-Za-z][0-9A-Za-z.]*$")]


def _each_axis(spacing: object) -> object:
    """One number stands for all three axes."""
    return (spacing,) * 3 if isinstance(spacing, int | float) else spacing


class BundleFile(Contract):
    """One file of the bundle. ``reference`` stores fp16 weights and computes in float32."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    # The bundle in the same models folder whose folder holds the file; None is this one. Weights that two bundles
    # share are so stored once, and a service loads them once.
    bundle: BundleAddress | None = None
    sha256: Sha256
    variant: Variant
    size_bytes: int = Field(gt=0)
    # int8 only: met the gate (top-1 agreement >= 0.995, |change of Dice| <= 0.005), so it is the default on CPU.
    passes_gate: bool = True
    # Measured against the reference on the validation split, e.g. {"top1_agreement": 0.998}.
    agreement: dict[str, float] = Field(default_factory=dict)


class ClassificationPreprocessing(Contract):
    """Parameters of ``core.imaging.preparation.transforms.prepare_classification``."""

    kind: Literal["classification"] = "classification"
    size: int = Field(gt=0)
    # Of the head's grey values, what becomes black and white; None: the darkest and the brightest of what is shown.
    percentiles: tuple[float, float] | None = None
    # Black that is laid round a slice once its own dark border is cut off, as a share of what is left ...
    border: float = Field(default=0.045, ge=0)
    # ... and how much is shown around the head at most, as a share of the head's longer side.
    head_margin: float = Field(default=0.25, ge=0)


class SegmentationPreprocessing(Contract):
    """Parameters of ``core.imaging.preparation.transforms.prepare_segmentation``."""

    kind: Literal["segmentation"] = "segmentation"
    size: int = Field(gt=0)
    sequences: tuple[str, ...] = SEQUENCES
    percentiles: tuple[float, float] = (1.0, 99.0)
    # How much is shown around the head, as a share of its longer side; black where the slice ends before.
    head_margin: float = Field(default=0.028, ge=0)
    # Two slices that correlate above this are one image under two names. Among the TCGA-LGG training slices nearly all
    # copies lie above 0.99, and 97 % of the pairs of different sequences below 0.98.
    copy_correlation: float = Field(default=0.99, gt=0, le=1)


class VolumePreprocessing(Contract):
    """Parameters of ``volume_transforms.prepare_volume``, and the windows that the graph is run on."""

    kind: Literal["volume-segmentation"] = "volume-segmentation"
    sequences: tuple[str, ...] = SEQUENCES
    # To the right, anterior and superior; None: the input's own.
    spacing_mm: Annotated[tuple[Millimetres, Millimetres, Millimetres] | None, BeforeValidator(_each_axis)] = (1, 1, 1)
    # Slices further apart than that stay as they are: nothing is invented between thick slices.
    keep_thick_slices: bool = False
    # Two sequences that correlate above this in the head are one under two names; None: not looked for.
    copy_correlation: float | None = Field(default=None, gt=0, le=1)
    percentiles: tuple[float, float] = (0.5, 99.8)
    margin_mm: float = Field(default=4.0, ge=0)
    # Voxels to the right, anterior and superior; each a multiple of 16.
    window: tuple[Annotated[int, Field(gt=0, multiple_of=16)], ...] = Field(min_length=3, max_length=3)
    # Share of a window's side by which neighbours overlap at least.
    overlap: float = Field(default=0.5, ge=0, lt=1)
    # The graph is shown columns of windows that overlap by half along the third axis, of any such length, and answers
    # for every window of a column: what windows share is read once. In plane it is shown the blocks of 16 voxels in the
    # middle that the volume lies in, as many fewer than the window's on either side. Else it is shown windows.
    columns: bool = False


Preprocessing = Annotated[
    ClassificationPreprocessing | SegmentationPreprocessing | VolumePreprocessing, Field(discriminator="kind")
]


class InputCheck(Contract):
    """Limits of the model's own measures; at its limit each alone makes an input out of distribution.

    Set on validation for the share of slices that the whole check, pixels included, accepts.
    """

    max_distance: float
    max_energy: float | None = None


class Calibration(Contract):
    """What turns logits into honest probabilities: softmax(logits / temperature)."""

    temperature: float = Field(gt=0)
    # True: the graph has already divided its logits by the temperature, which stands here for the record.
    # False: whoever reads the logits divides them, as where several bundles read one graph.
    temperature_in_graph: bool = True
    # Conformal: a label is in the set when 1 - probability <= quantile.
    conformal_quantile: float | None = Field(default=None, ge=0, le=1)
    coverage: float | None = Field(default=None, gt=0, lt=1)

    @property
    def divisor(self) -> float:
        """What is left to divide the graph's logits by."""
        return 1.0 if self.temperature_in_graph else self.temperature


class MapGeometry(Contract):
    """Where the cells of the activation maps lie: cell i is centred on pixel first + i * step of the model's square.

    Strided convolutions put the first cell on the first pixels, not in the middle of those that it stands for.
    """

    first: float
    step: float = Field(gt=0)


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
    task: Literal["classification", "segmentation", "volume-segmentation"]
    architecture: str
    title: str
    files: tuple[BundleFile, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    # Class names in the order of the logits (classification), or region names in the order of the graph's channels
    # (segmentation). Regions of volumes are nested: whole_tumor, tumor_core, enhancing_tumor.
    labels: tuple[str, ...] = Field(min_length=1)
    # Classification: which logits (and maps) of the graph the labels are, in the order of ``labels``; the others are
    # left out of the softmax. None: all of them, one a label.
    label_indices: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    # Classification: None takes the maps' cells to tile the square.
    map_geometry: MapGeometry | None = None
    calibration: Calibration | None = None
    input_check: InputCheck | None = None
    # Segmentation: probability above which a pixel is tumour, from validation.
    threshold: float | None = Field(default=None, gt=0, lt=1)
    # Volumes: one threshold a region, from validation; and the least volume of a connected piece that is kept.
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None
    smallest_component_ml: float = Field(default=0.0, ge=0)
    # Volumes: where less than this enhances in all, it counts as tumour core.
    smallest_enhancing_ml: float = Field(default=0.0, ge=0)
    # Volumes: by region (``core.contracts.regions``) its mean Dice on validation. A region whose figure is poor, or
    # that has none, is withheld from callers (docs/adr/0035-numbers-that-may-be-believed.md).
    validated_dice: dict[str, Metric] = Field(default_factory=dict)
    # Sentences that every answer of this model carries as warnings.
    caveats: tuple[str, ...] = ()
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

    @model_validator(mode="after")
    def _thresholds_match_labels(self) -> Manifest:
        if self.thresholds is not None and len(self.thresholds) != len(self.labels):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")
        return self

    @model_validator(mode="after")
    def _validated_on_validation(self) -> Manifest:
        unknown = sorted(set(self.validated_dice) - set(REGIONS))
        if unknown:
            raise ValueError(f"validated_dice names no regions of a volume: {', '.join(unknown)}")
        if any(metric.split != VALIDATION or not 0 <= metric.value <= 1 for metric in self.validated_dice.values()):
            raise ValueError(f"validated_dice holds shares that were measured on the split {VALIDATION}")
        return self

    @model_validator(mode="after")
    def _indices_match_labels(self) -> Manifest:
        indices = self.label_indices
        if indices is None:
            return self
        if self.task != "classification":
            raise ValueError("label_indices choose logits, which only a classifier has")
        if len(indices) != len(self.labels) or len(set(indices)) != len(indices):
            raise ValueError(f"label_indices must name one logit for each of the {len(self.labels)} labels")
        return self

    @property
    def logit_indices(self) -> tuple[int, ...]:
        """Place of each label among the graph's logits."""
        return tuple(range(len(self.labels))) if self.label_indices is None else self.label_indices

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that a network for slices takes. Raises TypeError for one of volumes."""
        if isinstance(self.preprocessing, VolumePreprocessing):
            raise TypeError(f"{self.name} takes volumes")
        return self.preprocessing.size

    @property
    def region_thresholds(self) -> tuple[float, ...]:
        """Probability above which a voxel belongs to a region of a volume, in the order of ``labels``."""
        return self.thresholds or (_EVEN_ODDS,) * len(self.labels)
