"""How far a job has come, told to the queue, and what each stage of it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from core.jobs.handler import Report

STAGES: Final[Mapping[str, float]] = {
    "load": 0.05,
    "read": 0.1,
    "prepare": 0.1,
    "segment": 0.6,
    "restore": 0.05,
    "measure": 0.05,
    "write": 0.05,
}
"""The stages of a volume in their order, and the share of a job's time that each is taken to need."""


class Stages:
    """``enter`` each stage in turn; ``within`` one as it goes on."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done = 0.0
        self._name: str | None = None
        self._since = 0.0
        self.seconds: dict[str, float] = {}

    def enter(self, name: str) -> None:
        """The stage before has ended and ``name``, one of ``STAGES``, begins."""
        self.close()
        self._name, self._since = name, time.perf_counter()
        self._report(name, self._done)

    def within(self, share: float) -> None:
        """The present stage has done ``share`` of its work."""
        if self._name is not None:
            self._report(self._name, self._done + share * STAGES[self._name])

    def close(self) -> None:
        """The present stage has ended."""
        if self._name is not None:
            self.seconds[self._name] = round(time.perf_counter() - self._since, 3)
            self._done += STAGES[self._name]
            self._name = None
