"""What a service says of itself: models, readiness."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from core.contracts.base import DISCLAIMER, Contract
from core.contracts.manifest import BundleFile, ClassificationPreprocessing, Manifest, Metric


class ModelSummary(Contract):
    """One served model; ``ready`` means loaded, warmed up and on the expected provider."""

    name: str
    version: str
    task: Literal["classification", "segmentation", "volume-segmentation"]
    title: str
    architecture: str
    labels: tuple[str, ...]
    sequences: tuple[str, ...] = Field(
        default=(), description="Sequences that it takes by name; none where it takes one image of any."
    )
    provider: str
    variant: str
    sha256: str
    ready: bool
    metrics: tuple[Metric, ...] = ()
    data_sets: tuple[str, ...] = ()
    licence: str
    intended_use: str

    @classmethod
    def of(cls, manifest: Manifest, file: BundleFile, provider: str) -> Self:
        """What is said of a bundle once ``file`` of it has been loaded on ``provider``: none is listed before."""
        given = manifest.preprocessing
        return cls(
            name=manifest.name,
            version=manifest.version,
            task=manifest.task,
            title=manifest.title,
            architecture=manifest.architecture,
            labels=manifest.labels,
            sequences=() if isinstance(given, ClassificationPreprocessing) else given.sequences,
            provider=provider,
            variant=file.variant,
            sha256=file.sha256,
            ready=True,
            metrics=manifest.metrics,
            data_sets=manifest.data_sets,
            licence=manifest.licence,
            intended_use=manifest.intended_use,
        )

    def answers_to(self, name: str) -> bool:
        """Whether it is meant by ``NAME`` or ``NAME@VERSION``."""
        wanted, _, version = name.partition("@")
        return self.name == wanted and version in ("", self.version)


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
