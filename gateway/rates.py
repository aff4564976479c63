"""How often one caller may ask."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from core.errors import RateLimited

# The window's edge itself still counts as inside, so the promised moment lies just behind it.
EDGE_S = 0.01


class RateLimit:
    """At most so many requests per caller in any window of the given length (a moving window, held in memory).

    Each gateway process counts for itself: behind two gateways a caller has twice the rate.
    """

    def __init__(self, rate: RateLimitItem) -> None:
        self._rate = rate
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def hit(self, caller: str) -> None:
        """Count one request.

        Raises:
            RateLimited: the caller has used up the window; ``retry_after_s`` is when the next request will be let in.
        """
        if self._limiter.hit(self._rate, caller):
            return
        reset_at = self._limiter.get_window_stats(self._rate, caller).reset_time
        wait_s = max(1, math.ceil(reset_at - time.time() + EDGE_S))
        raise RateLimited(f"At most {self._rate} per caller. Try again in {wait_s} s.", retry_after_s=wait_s)

    def count(self, caller: str, further: int) -> None:
        """Count ``further`` requests that have been answered already; what is left of the window is all they take."""
        left = self._limiter.get_window_stats(self._rate, caller).remaining
        self._limiter.hit(self._rate, caller, cost=min(further, left))


def rate_limit(text: str | None) -> RateLimit | None:
    """``"600/minute"`` and the like; None switches the limit off."""
    return RateLimit(parse(text)) if text else None
