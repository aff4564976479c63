"""Metrics: names, units and labels that dashboards rely on."""

from __future__ import annotations

from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from core.telemetry.metrics import SECONDS_BUCKETS, Metrics, ModelMetrics, UpstreamMetrics


def families(metrics: Metrics) -> dict[str, tuple[str, set[str]]]:
    """Type and label names of every family of Falx that has a value, as Prometheus reads them."""
    return {
        family.name: (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
        for family in text_string_to_metric_families(metrics.render().decode())
        if family.name.startswith("falx_")
    }


def test_every_service_measures_requests_and_refusals() -> None:
    metrics = Metrics()
    metrics.requests.labels("/v1/models", "GET", "200").inc()
    metrics.request_seconds.labels("/v1/models").observe(0.1)
    metrics.rejections.labels("queue-full").inc()
    assert families(metrics) == {
        "falx_requests": ("counter", {"route", "method", "status"}),
        "falx_request_seconds": ("histogram", {"route"}),
        "falx_rejections": ("counter", {"reason"}),
    }


def test_a_model_server_measures_each_step() -> None:
    metrics = ModelMetrics()
    metrics.decode_seconds.observe(0.002)
    metrics.queue_seconds.labels("m").observe(0.001)
    metrics.inference_seconds.labels("m").observe(0.02)
    metrics.batch_size.labels("m").observe(3)
    metrics.queue_depth.labels("m").set(2)
    metrics.dropped.labels("m", "expired").inc()
    metrics.active_provider.labels("m", "CPUExecutionProvider").set(1)
    found = families(metrics)
    assert found["falx_decode_seconds"] == ("histogram", set())
    assert found["falx_queue_seconds"] == found["falx_inference_seconds"] == ("histogram", {"model"})
    assert found["falx_batch_size"] == ("histogram", {"model"})
    assert found["falx_queue_depth"] == ("gauge", {"model"})
    assert found["falx_dropped"] == ("counter", {"model", "reason"})
    assert found["falx_active_provider"] == ("gauge", {"model", "provider"})


def test_the_gateway_measures_its_upstreams() -> None:
    metrics = UpstreamMetrics()
    metrics.upstream_seconds.labels("classifier").observe(0.1)
    metrics.circuit_open.labels("classifier").set(1)
    found = families(metrics)
    assert found["falx_upstream_seconds"] == ("histogram", {"upstream"})
    assert found["falx_circuit_open"] == ("gauge", {"upstream"})
    assert "falx_decode_seconds" not in found


def test_the_buckets_reach_from_a_millisecond_to_a_minute() -> None:
    assert (SECONDS_BUCKETS[0], SECONDS_BUCKETS[-1]) == (0.001, 60.0)
    steps = [upper / lower for lower, upper in pairwise(SECONDS_BUCKETS)]
    assert all(1.9 < step <= 3.0 for step in steps)


def test_each_object_has_a_registry_of_its_own() -> None:
    one, two = Metrics(), Metrics()
    one.rejections.labels("x").inc()
    assert b'reason="x"' in one.render()
    assert b'reason="x"' not in two.render()


def test_the_process_itself_is_measured_and_start_times_of_counters_are_not() -> None:
    metrics = Metrics()
    metrics.rejections.labels("x").inc()
    text = metrics.render().decode()
    assert "process_resident_memory_bytes" in text
    assert "process_open_fds" in text
    assert "_created" not in text
