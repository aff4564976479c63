"""Who does the damage: kills with -9, both workers at once at times, and a disk that is full for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from drills.chaos.client import Diary
from drills.chaos.site import Service, Site

Deed = Literal["worker", "gateway", "valkey", "disk"]

_ROUND: Final[tuple[Deed, ...]] = ("worker", "valkey", "gateway", "worker", "disk")
_BOTH_SHARE: Final = 0.2
# That nothing has ended for so long is no reason to leave it at that.
_LULL_S: Final = 60.0
_CHUNK: Final = bytes(64 * 1024)


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done, and when, in seconds of the epoch; ``until`` the cause of it was mended.

    ``jobs`` are those that killed workers were at.
    """

    deed: Deed
    at: float
    until: float
    jobs: tuple[str, ...] = ()


class Adversary:
    """Does ``count`` deeds, each kind in its turn, in an order and with pauses that the seed decides.

    ``begins`` is told of each one. While jobs wait, a deed waits until one has ended since the last deed and a worker
    is at another: on a slow machine, too, things go on in between.
    """

    def __init__(
        self, site: Site, seed: int, count: int, longest_pause_s: float, diary: Diary, begins: Callable[[Deed], None]
    ) -> None:
        self._site = site
        self._diary = diary
        self._begins = begins
        self._rng = random.Random(f"{seed}-adversary")
        self._pause_s = longest_pause_s
        # How many jobs had ended at the last deed; for the first one none need have.
        self._ended = -1
        self.damages: list[Damage] = []
        self.deeds = self._plan(count)

    def _plan(self, count: int) -> list[Deed]:
        deeds: list[Deed] = []
        while len(deeds) < count:
            deeds += self._rng.sample(_ROUND, len(_ROUND))
        return [deed for deed in deeds[:count] if deed != "disk" or self._site.small_disk]

    def rage(self) -> None:
        """Do it all. Returns when everything has been started again."""
        for deed in self.deeds:
            if self._site.closed.wait(self._rng.uniform(0.3, 1.0) * self._pause_s):
                return
            self._wait_for_work()
            self._begins(deed)
            at = time.time()
            jobs = self._do(deed)
            self.damages.append(Damage(deed, at, time.time(), jobs))

    def _wait_for_work(self) -> None:
        end_s = time.monotonic() + _LULL_S
        while self._diary.active and time.monotonic() < end_s:
            if len(self._diary.ends) > self._ended and any(worker.busy() for worker in self._site.workers):
                break
            time.sleep(0.1)
        self._ended = len(self._diary.ends)

    def _do(self, deed: Deed) -> tuple[str, ...]:
        if deed == "worker":
            return self._kill_workers()
        if deed == "gateway":
            self._kill(self._site.gateway)
        elif deed == "valkey":
            self._site.kill_valkey()
        else:
            self._fill_disk()
        return ()

    def _kill_workers(self) -> tuple[str, ...]:
        """One, of those with a job if there are any; or all of them."""
        workers = self._site.workers
        if self._rng.random() >= _BOTH_SHARE:
            workers = (self._rng.choice([worker for worker in workers if worker.busy()] or workers),)
        jobs = [worker.job() for worker in workers if worker.busy()]
        self._kill(*workers)
        return tuple(job for job in jobs if job is not None)

    def _kill(self, *services: Service) -> None:
        for service in services:
            service.kill()
        if not self._site.closed.wait(self._rng.uniform(0.1, 1.0)):
            for service in services:
                service.start()

    def _fill_disk(self) -> None:
        """Leave not a byte for some seconds."""
        filler = self._site.folder / "disk" / "filler"
        end_s = time.monotonic() + self._rng.uniform(2.0, 4.0)
        try:
            while time.monotonic() < end_s and not self._site.closed.is_set():
                with filler.open("ab", buffering=0) as file:
                    try:
                        while file.write(_CHUNK):
                            pass
                    except OSError:
                        # Full; what others erase meanwhile is taken as well.
                        time.sleep(0.05)
        finally:
            filler.unlink(missing_ok=True)
