"""What a service says of itself: models, readiness."""

from __future__ import annotations

from typing import Literal

from core.contracts.base import DISCLAIMER, Contract
from core.contracts.manifest import Metric


class ModelSummary(Contract):
    """One served model; ``ready`` means loaded, warmed up and on the expected provider."""

    name: str
    version: str
    task: Literal["classification", "segmentation", "volume-segmentation"]
    title: str
    architecture: str
    labels: tuple[str, ...]
    provider: str
    variant: str
    sha256: str
    ready: bool
    metrics: tuple[Metric, ...] = ()
    data_sets: tuple[str, ...] = ()
    licence: str
    intended_use: str


class ModelList(Contract):
    """Answer of ``GET /v1/models``: every model served, the default of each task first."""

    models: tuple[ModelSummary, ...]
    disclaimer: str = DISCLAIMER


class DependencyState(Contract):
    """One thing that the service needs: a model or an upstream server."""

    name: str
    ready: bool
    detail: str = ""
    provider: str | None = None
    version: str | None = None


class Readiness(Contract):
    """Answer of ``/readyz``; the HTTP status is 200 when ``ready``, else 503."""

    ready: bool
    draining: bool = False
    dependencies: tuple[DependencyState, ...] = ()
