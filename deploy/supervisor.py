"""The loop that starts, watches and stops the embedded services."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deploy.child import Child
from deploy.plan import EmbeddedSettings, Tier

TICK_S = 0.1
# While all is well: a service that has died waits so long for its restart, and a line of its log to be printed.
WATCH_S = 0.3
Say = Callable[[str], None]


class Supervisor:
    """Runs tiers of services: all start together; the last tier drains first.

    ``say`` prints one line for people. With ``follow_logs`` the services' own lines are printed too. With
    ``stop_with_parent`` everything drains when the process that started the supervisor (``make``) is gone.
    """

    def __init__(
        self,
        tiers: tuple[Tier, ...],
        settings: EmbeddedSettings,
        say: Say,
        *,
        follow_logs: bool = False,
        stop_with_parent: bool = False,
    ) -> None:
        self._settings = settings
        self._say = say
        self._follow_logs = follow_logs
        self._parent = os.getppid() if stop_with_parent else None
        self._tiers = tuple(tuple(Child(service, settings.log_dir) for service in tier) for tier in tiers)
        self._children = tuple(child for tier in self._tiers for child in tier)
        # A plain counter: the handler runs between two byte codes of the loop and may not take locks.
        self._stop_requests = 0

    def run(self, on_ready: Callable[[], None]) -> int:
        """Run until asked to stop or until a service cannot be kept up; return the exit code."""
        with self._signals():
            try:
                for child in self._children:
                    child.start()
                failed = not self._wait_until_ready()
                if not failed and not self._stop_requests:
                    on_ready()
                    failed = not self._watch()
            finally:
                clean = self._stop_all()
        return 1 if failed or not clean else 0

    @contextmanager
    def _signals(self) -> Iterator[None]:
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        previous = {number: signal.signal(number, self._on_signal) for number in signals}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_requests += 1

    def _stop_asked(self) -> bool:
        return self._stop_requests > 0 or (self._parent is not None and os.getppid() != self._parent)

    def _tick(self, seconds: float = TICK_S) -> None:
        time.sleep(seconds)
        for child in self._children:
            child.log.rotate()
            if self._follow_logs:
                self._print_fresh(child)

    def _print_fresh(self, child: Child) -> None:
        for line in child.log.fresh_lines():
            self._say(f"{child.service.name:>10} | {line}")

    def _wait_until_ready(self) -> bool:
        """Return True when all are ready or a stop was asked for; a start that fails is not tried again.

        A service that ends before it was ever ready has a fault that a restart does not mend: say it at once.
        """
        deadline = time.monotonic() + self._settings.start_timeout_s
        waiting = list(self._children)
        while waiting and not self._stop_asked():
            for child in tuple(waiting):
                if not child.alive:
                    self._say_failure(child, child.ending())
                    return False
                if self._announce_if_ready(child):
                    waiting.remove(child)
            if waiting and time.monotonic() > deadline:
                for child in waiting:
                    limit = f"is not ready after {self._settings.start_timeout_s:g} s"
                    self._say_failure(child, f"{limit}: {child.probe().detail}")
                return False
            self._tick()
        return True

    def _announce_if_ready(self, child: Child) -> bool:
        state = child.probe()
        if state.ready:
            child.announced = True
            suffix = f": {state.detail}" if state.detail else ""
            self._say(f"  {child.service.name:<10} ready after {child.uptime_s:.1f} s{suffix}")
        return state.ready

    def _say_failure(self, child: Child, how: str) -> None:
        if self._follow_logs:
            self._print_fresh(child)
        self._say(f"{child.service.name} {how}")
        for line in () if self._follow_logs else child.log.tail():
            self._say(f"    {line}")
        self._say(f"  its log: {child.log.path}")

    def _watch(self) -> bool:
        """Keep all services up; return False when one of them dies too often."""
        while not self._stop_asked():
            for child in self._children:
                if not self._keep_up(child):
                    return False
            self._tick(WATCH_S)
        return True

    def _keep_up(self, child: Child) -> bool:
        if child.alive:
            if not child.announced:
                self._announce_if_ready(child)
            return True
        if child.restart_at is not None:
            if time.monotonic() >= child.restart_at:
                child.start()
            return True
        delay_s = child.backoff.next_delay_s(child.uptime_s)
        if delay_s is None:
            self._say_failure(child, f"{child.ending()} {child.backoff.deaths} times in a row: giving up")
            return False
        self._say_failure(child, f"{child.ending()}; starting it again in {delay_s:g} s")
        child.restart_at = time.monotonic() + delay_s
        return True

    def _stop_all(self) -> bool:
        """Drain tier by tier, the last one first; return whether every service left by itself."""
        clean = True
        for tier in reversed(self._tiers):
            clean = self._drain(tier) and clean
        self._say("stopped" if clean else "stopped, not every service had finished its work")
        return clean

    def _drain(self, tier: tuple[Child, ...]) -> bool:
        living = [child for child in tier if child.alive]
        if living and self._stop_requests <= 1:
            self._say(f"draining {', '.join(child.service.name for child in living)} (Ctrl-C again: kill)")
        for child in living:
            child.stop()
        deadline = time.monotonic() + self._settings.drain_timeout_s
        while any(child.alive for child in living) and self._stop_requests <= 1 and time.monotonic() < deadline:
            self._tick()
        stuck = [child for child in living if child.alive]
        for child in stuck:
            self._say(f"killing {child.service.name}")
            child.kill()
        for child in tier:
            child.close()
        return not stuck and all(child.ended_well() for child in living)
