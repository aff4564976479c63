"""Stops asking a model server that cannot be reached, and finds out when it is back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from circuitbreaker import CircuitBreaker

from core.errors import ModelUnavailable


class Circuit:
    """Closed while the upstream answers; open after ``failures`` failed connections in a row.

    Open, it refuses at once for ``reset_s`` seconds; then one request at a time goes through as the probe, and a
    success closes it. The library counts, keeps the clock and the state; letting only one probe through is ours,
    because otherwise every waiting caller would hang on a host that swallows packets.
    """

    def __init__(self, name: str, failures: int, reset_s: float, on_change: Callable[[bool], None]) -> None:
        self._name = name
        self._breaker = CircuitBreaker(
            failure_threshold=failures, recovery_timeout=reset_s, expected_exception=ModelUnavailable, name=name
        )
        self._probe: Attempt | None = None
        self._on_change = on_change
        on_change(False)

    @property
    def is_closed(self) -> bool:
        return bool(self._breaker.closed)

    def admit(self) -> Attempt:
        """Let one request through; the caller must settle the attempt in one of its three ways.

        Raises:
            ModelUnavailable: the circuit is open, or its probe is on the way.
        """
        attempt = Attempt(self)
        if self._breaker.closed:
            return attempt
        if self._breaker.opened or self._probe is not None:
            raise ModelUnavailable(
                f"The model server '{self._name}' cannot be reached; it is asked again shortly.",
                retry_after_s=max(1, self._breaker.open_remaining),
            )
        self._probe = attempt
        return attempt

    def _settle(self, attempt: Attempt) -> None:
        if self._probe is attempt:
            self._probe = None

    def _close(self) -> None:
        if self._breaker.closed and not self._breaker.failure_count:
            return
        self._breaker.reset()
        self._on_change(False)

    def _count(self, error: ModelUnavailable) -> None:
        with suppress(ModelUnavailable), self._breaker:
            raise error
        self._on_change(not self._breaker.closed)


class Attempt:
    """One request that the circuit let through."""

    __slots__ = ("_circuit",)

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    def succeeded(self) -> None:
        """The upstream answered, whatever the status."""
        self._circuit._settle(self)
        self._circuit._close()

    def failed(self, error: ModelUnavailable) -> None:
        """The upstream could not be reached, or hung up before it answered."""
        self._circuit._settle(self)
        self._circuit._count(error)

    def abandoned(self) -> None:
        """The request ended without telling anything of the upstream: its client hung up or its time ran out."""
        self._circuit._settle(self)
