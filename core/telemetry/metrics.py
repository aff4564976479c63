"""Prometheus metrics, in seconds and counts. Every service owns one registry object; nothing is global.

Labels hold route templates, model names, what models may find, ids of API keys and error codes only: never a path,
a file name or anything that says who a patient is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core.contracts.common import InputCheckResult

METRICS_MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# A small image on a GPU answers in a millisecond, a batch on a busy CPU in tens of seconds: three steps a decade.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
SET_SIZE_BUCKETS = (0, 1, 2, 3, 4, 5, 6)
SHARE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
OUTLINED_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """What every HTTP service measures. ``registry`` is this service's own.

    ``requests`` and ``request_seconds`` are filled by the shell's middleware, ``rejections`` (by error code) where
    errors become problems: code elsewhere has no need to touch them.
    """

    def __init__(self) -> None:
        # Start times of counters double the series and Prometheus does without them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "falx_requests",
            "Requests answered; status 499 means that the client hung up first.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = self.histogram(
            "falx_request_seconds", "From the head of the request to the end of the answer.", "route"
        )
        self.rejections = Counter(
            "falx_rejections", "Requests answered with a problem, by its code.", ["reason"], registry=self.registry
        )

    def histogram(
        self, name: str, documentation: str, *labels: str, buckets: Sequence[float] = SECONDS_BUCKETS
    ) -> Histogram:
        """A histogram of this service, of seconds where no other ``buckets`` are given."""
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)

    def render(self) -> bytes:
        """Everything in the Prometheus text format, media type ``METRICS_MEDIA_TYPE``."""
        return generate_latest(self.registry)


class ModelMetrics(Metrics):
    """What a model server measures on top; ``model`` is the name of the bundle."""

    def __init__(self) -> None:
        super().__init__()
        self.decode_seconds = self.histogram("falx_decode_seconds", "From the bytes of one image to its pixels.")
        self.queue_seconds = self.histogram("falx_queue_seconds", "From admission to the start of the batch.", "model")
        self.inference_seconds = self.histogram("falx_inference_seconds", "One run of a batch.", "model")
        self.batch_size = self.histogram("falx_batch_size", "Images in one run.", "model", buckets=BATCH_SIZE_BUCKETS)
        self.queue_depth = Gauge(
            "falx_queue_depth", "Images admitted and not yet running.", ["model"], registry=self.registry
        )
        self.dropped = Counter(
            "falx_dropped",
            "Images dropped before they ran; reason is expired or cancelled.",
            ["model", "reason"],
            registry=self.registry,
        )
        self.active_provider = Gauge(
            "falx_active_provider",
            "1 for the execution provider that really runs the model.",
            ["model", "provider"],
            registry=self.registry,
        )
        self.provider_cpu_seconds = Gauge(
            "falx_provider_cpu_seconds",
            "CPU time of one image, measured before the provider was chosen; verdict is serves, slower or differs.",
            ["model", "provider", "variant", "verdict"],
            registry=self.registry,
        )
        # What is answered, so that another scanner or protocol shows before anybody complains of answers.
        self.answers = Counter(
            "falx_answers", "Slices answered, by what was found in them.", ["model", "finding"], registry=self.registry
        )
        self.unfamiliar = Counter(
            "falx_unfamiliar", "Slices answered that the input check did not know.", ["model"], registry=self.registry
        )
        self.check_score = self.histogram(
            "falx_input_check_score", "How familiar the slices answered are, 0 to 1.", "model", buckets=SHARE_BUCKETS
        )
        self.set_size = self.histogram(
            "falx_prediction_set_size", "Labels in the prediction set of an answer.", "model", buckets=SET_SIZE_BUCKETS
        )
        self.outlined_share = self.histogram(
            "falx_outlined_share", "Share of a slice that is outlined, where any is.", "model", buckets=OUTLINED_BUCKETS
        )

    def answered(self, model: str, finding: str, check: InputCheckResult) -> None:
        """Count an answer about one slice: a label, or whether anything is outlined."""
        self.answers.labels(model, finding).inc()
        self.check_score.labels(model).observe(check.score)
        if not check.in_distribution:
            self.unfamiliar.labels(model).inc()


class UpstreamMetrics(Metrics):
    """What the gateway measures on top; ``upstream`` is the name of a model server.

    ``key_ends`` tells by its id when each API key ends that does; it is asked for every time that metrics are read.
    """

    def __init__(self, key_ends: Callable[[], Mapping[str, datetime]] = dict) -> None:
        super().__init__()
        self.upstream_seconds = self.histogram(
            "falx_upstream_seconds", "From sending a request to a model server to the end of its answer.", "upstream"
        )
        self.circuit_open = Gauge(
            "falx_circuit_open", "1 while a model server is not tried.", ["upstream"], registry=self.registry
        )
        self.registry.register(_KeyEnds(key_ends))


class _KeyEnds(Collector):
    """One gauge, in Unix time."""

    def __init__(self, key_ends: Callable[[], Mapping[str, datetime]]) -> None:
        self._key_ends = key_ends

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("falx_key_ends_seconds", "When an API key ends, in Unix time.", labels=["key"])
        for key, ends in self._key_ends().items():
            family.add_metric([key], ends.timestamp())
        yield family
