"""One model as it is served, and what binds it to its session and to the metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from core.contracts.common import ModelIdentity
from core.contracts.manifest import BundleFile
from core.contracts.service import ModelSummary
from core.runtime.bundle import Bundle
from core.runtime.providers import Hint
from core.runtime.session import Session, TensorSpec
from core.serving.batcher import Batcher
from core.serving.schedule import DropReason
from core.telemetry.metrics import ModelMetrics

Array = npt.NDArray[Any]
RowOutputs = dict[str, Array]
"""All outputs of the network for one row, by name, without the batch axis."""


@dataclass(frozen=True)
class ServedModel:
    """One model that answers: its verified bundle, the file in use, the session, and the batcher in front of it.

    Models whose bundles share their weights share session and batcher: what is asked of them runs in one batch.
    ``reason`` says why this provider runs it, where there was a choice.
    """

    bundle: Bundle
    file: BundleFile
    session: Session
    batcher: Batcher[RowOutputs]
    hint: Hint | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.bundle.manifest.name

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.bundle.manifest.version

    @property
    def variant(self) -> str:
        """The file in use, and the precision where that is not the file's own."""
        return f"{self.file.variant}-bf16" if self.hint == "bf16" else self.file.variant

    @property
    def state(self) -> str:
        """What ``/readyz`` says of how it runs."""
        return "; ".join(filter(None, (self.variant, self.reason)))

    @cached_property
    def identity(self) -> ModelIdentity:
        """What an answer says of the model that gave it."""
        return ModelIdentity(
            name=self.name,
            version=self.version,
            sha256=self.file.sha256,
            provider=self.session.provider,
            variant=self.variant,
        )

    def summary(self) -> ModelSummary:
        """What ``/v1/models`` says of it."""
        summary = ModelSummary.of(self.bundle.manifest, self.file, self.session.provider)
        return summary.model_copy(update={"variant": self.variant})


class MetricsObserver:
    """Puts what a batcher does into Prometheus; the children are looked up once, as they are on the hot path."""

    def __init__(self, metrics: ModelMetrics, model: str) -> None:
        self._metrics = metrics
        self._model = model
        self._queue_seconds = metrics.queue_seconds.labels(model)
        self._inference_seconds = metrics.inference_seconds.labels(model)
        self._batch_size = metrics.batch_size.labels(model)

    def ran(self, *, rows: int, queue_s: Sequence[float], inference_s: float) -> None:
        for seconds in queue_s:
            self._queue_seconds.observe(seconds)
        self._inference_seconds.observe(inference_s)
        self._batch_size.observe(rows)

    def dropped(self, reason: DropReason) -> None:
        self._metrics.dropped.labels(self._model, reason).inc()


def row_forward(session: Session, *, alone: bool = False) -> Callable[[Array], list[RowOutputs]]:
    """``session`` as the batcher wants it: rows (n, ...) of its one input to n records of outputs.

    ``alone``: for runs that are made while there is no other.
    """
    name = session.inputs[0].name

    def forward(rows: Array) -> list[RowOutputs]:
        outputs = session.run({name: rows}, alone=alone)
        return [{key: values[row] for key, values in outputs.items()} for row in range(len(rows))]

    return forward


def typical_row(spec: TensorSpec, size: int) -> Array:
    """Noise in [0, 1] in the shape of one row; free sides of the image become ``size`` pixels."""
    shape = tuple(size if side is None else side for side in spec.shape[1:])
    return np.random.default_rng(0).random(shape).astype(spec.dtype)
