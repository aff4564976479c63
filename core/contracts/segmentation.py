"""The answer of ``POST /v1/segmentations``."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from core.contracts.base import DISCLAIMER, Contract, may_lack
from core.contracts.common import InputCheckResult, ModelIdentity, TimingMs
from core.contracts.problem import Problem


class CocoRle(Contract):
    """COCO run-length encoding of the mask: ``size`` is (height, width), ``counts`` the compressed string."""

    size: tuple[int, int]
    counts: str


class Candidate(Contract):
    """Where a tumour is likeliest in an image in which nothing was outlined. It is no outline, and often wrong.

    The connected pixels around the most probable one whose probability is above ``threshold``, a fixed share of
    ``max_probability``. ``contours``, ``bounding_box`` and ``area_mm2`` are as in a segmentation.
    """

    pixels: int = Field(gt=0)
    area_mm2: float | None
    contours: tuple[tuple[tuple[int, int], ...], ...]
    bounding_box: tuple[int, int, int, int]
    max_probability: float = Field(gt=0, le=1)
    threshold: float = Field(gt=0, lt=1)


class Segmentation(Contract):
    """Everything in the uploaded image's own pixels: x to the right, y down, origin at the upper left corner.

    ``candidate`` stands where nothing was outlined and the highest probability is not next to nothing, else None.
    ``input_check`` is that of the least familiar image where several sequences are given.
    """

    size: tuple[int, int]
    tumor_pixels: int = Field(ge=0)
    area_mm2: float | None
    mask: CocoRle
    contours: tuple[tuple[tuple[int, int], ...], ...]
    bounding_box: tuple[int, int, int, int] | None
    max_probability: float = Field(ge=0, le=1)
    threshold: float = Field(gt=0, lt=1)
    candidate: Candidate | None = None
    sequences: tuple[str, ...]
    input_check: InputCheckResult
    model: ModelIdentity
    timing_ms: TimingMs
    warnings: tuple[str, ...] = ()
    request_id: str
    disclaimer: str = DISCLAIMER


class SegmentationItem(Contract):
    """What came of one file of several: ``answer`` with status 200, else ``problem``; ``index`` counts from 0."""

    model_config = ConfigDict(json_schema_extra=may_lack("answer", "problem"))

    index: int = Field(ge=0)
    status: int = Field(ge=200, le=599)
    answer: Segmentation | None = None
    problem: Problem | None = None


class SegmentationBatch(Contract):
    """The answer to several files: one item each, in the order in which they came."""

    items: tuple[SegmentationItem, ...]
    request_id: str
    disclaimer: str = DISCLAIMER
