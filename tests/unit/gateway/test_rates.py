"""The rate limit keeps its promise about when to come back."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from core.errors import RateLimited
from gateway.rates import rate_limit
from gateway.settings import GatewaySettings


def test_off_by_default() -> None:
    assert rate_limit(GatewaySettings().rate_limit) is None


def test_retry_after_proves_right() -> None:
    limit = rate_limit("3/second")
    assert limit
    for _ in range(3):
        limit.hit("key:a")
    with pytest.raises(RateLimited) as refusal:
        limit.hit("key:a")
    assert refusal.value.retry_after_s == 1 or refusal.value.retry_after_s == 2
    assert "3 per 1 second" in refusal.value.detail
    time.sleep(refusal.value.retry_after_s)
    limit.hit("key:a")


def test_callers_do_not_share() -> None:
    limit = rate_limit("1/minute")
    assert limit
    limit.hit("key:a")
    limit.hit("key:b")
    with pytest.raises(RateLimited) as refusal:
        limit.hit("key:a")
    assert refusal.value.retry_after_s
    assert 55 < refusal.value.retry_after_s <= 61


@pytest.mark.parametrize("text", ["often", "0.5/minute", "10 per fortnight"])
def test_unreadable_rates_stop_the_start(text: str) -> None:
    with pytest.raises(ValidationError, match="rate_limit"):
        GatewaySettings(rate_limit=text)
