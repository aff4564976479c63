"""What a segmented volume measures, and ``report.json``: written by the worker as plain JSON, described here."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from core.contracts.base import DISCLAIMER, Contract, may_lack
from core.contracts.sequences import SequenceName
from core.contracts.series import REASONS, Confidence, SeriesAlternative

Voxel = tuple[int, int, int]
Areas = dict[str, float]


class BoundingBox(Contract):
    """Voxel indices of the input, zero-based; ``stop`` is excluded."""

    start: Voxel
    stop: Voxel


class LargestSection(Contract):
    """The axial slice in which a region has the largest area; the second diameter stands at right angles to the first.

    ``slice`` is its index along the input's axial axis.
    """

    slice: int = Field(ge=0)
    area_mm2: float = Field(ge=0)
    longest_mm: float = Field(ge=0)
    perpendicular_mm: float = Field(ge=0)


class RegionMeasurement(Contract):
    """One region; mm are RAS+ as in the input's affine. The longest diameter runs in any direction."""

    voxels: int = Field(ge=1)
    volume_ml: float = Field(ge=0)
    bounding_box: BoundingBox
    centroid_mm: tuple[float, float, float]
    longest_diameter_mm: float = Field(ge=0)
    largest_section: LargestSection


class Components(Contract):
    """Connected pieces of the tumour that were kept, and those that were left out as too small."""

    kept: int = Field(ge=0)
    removed: int = Field(ge=0)


class Measured(Contract):
    """What the job's record and its report both hold. Regions without a voxel are absent, and null stands for what is
    withheld: a region, and where that is the whole tumour the counts as well.
    """

    regions: dict[str, RegionMeasurement | None] = Field(
        description="By `whole_tumor`, `tumor_core`, `necrotic_core`, `oedema` and `enhancing`; null where withheld."
    )
    withheld: dict[str, str] = Field(description="By region, why nothing is told of it.")
    experimental: dict[str, str] = Field(description="By region, why it would be withheld, had it not been asked for.")
    axial_axis: Literal[0, 1, 2] = Field(description="Axis of the input along which slices are counted.")
    slices_with_tumor: int | None = Field(ge=0)
    components: Components | None
    max_probability: dict[str, float | None] = Field(
        description="Highest probability anywhere, by region of the network."
    )
    certainty: dict[str, float] = Field(
        description="Volume that surely is of a region, as a share of what may be, by region of the network."
    )


_FIELDS = tuple(Measured.model_fields)


class Measurements(Measured):
    """The field ``measurements`` of a job: empty until it has succeeded. Other types of jobs measure other things."""

    model_config = ConfigDict(extra="allow", json_schema_extra=may_lack(*_FIELDS))


class SliceAreas(Contract):
    """One axial slice that shows tumour: the area of each region that it shows."""

    slice: int = Field(ge=0)
    area_mm2: Areas


class SeriesSource(Contract):
    """The DICOM series that a sequence was taken from, and why; ``slices`` are those used."""

    sequence: SequenceName
    uid: str = Field(description="SeriesInstanceUID.")
    number: int | None
    slices: int = Field(ge=1)
    frame_of_reference: str | None
    score: float | None = Field(description="Points; null where the caller named the series.")
    confidence: Confidence | None
    reasons: tuple[str, ...] = Field(description=f"Why it was chosen. {REASONS}")
    alternatives: tuple[SeriesAlternative, ...] = Field(description="What else might be it, likeliest first.")


class Report(Measured):
    """The result ``report.json``."""

    model_config = ConfigDict(json_schema_extra=may_lack("series"))

    schema_version: Literal[1]
    labels: dict[str, str] = Field(description="What each label of the map stands for; empty where nothing is shown.")
    job: str
    slices: tuple[SliceAreas, ...] | None
    warnings: tuple[str, ...]
    series: tuple[SeriesSource, ...] = Field(default=(), description="Of a DICOM study alone.")
    provenance: dict[str, JsonValue] = Field(description="Model, preprocessing, inputs by SHA-256, times.")
    disclaimer: str = DISCLAIMER
