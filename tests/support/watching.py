"""Watching a service from outside: what its metrics say, and waiting until something holds."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.servers import Server


def measure(server: Server, name: str, **labels: str) -> float:
    """The sum of a metric over every label set that holds ``labels``; 0 before it is first touched."""
    text = server.request("GET", "/metrics").body.decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def until(condition: Callable[[], bool], what: str, limit_s: float) -> None:
    """Return once ``condition`` holds."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.05)
