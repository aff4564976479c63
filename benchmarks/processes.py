"""Everything that one system under test runs: its CPU time, its memory, and how it is kept still meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.cells import Sample
from benchmarks.load import offer

# Some go on computing after the last answer. It is over once less than half a core is used in a short while.
_LOOK_S: Final = 0.1
_BUSY_SHARE: Final = 0.5
_DRAIN_LIMIT_S: Final = 10.0
_WARM_UP_S: Final = 1.0
_END_LIMIT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Tree:
    """A process with all its descendants."""

    root: psutil.Process

    def processes(self) -> list[psutil.Process]:
        """All of them that live, the root first."""
        return [self.root, *self.root.children(recursive=True)]

    def cpu_s(self) -> float:
        """User and system CPU seconds so far: of those that live, and of children that have been waited for."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory_mib(self) -> tuple[float, float]:
        """Proportional and resident set size of all together; shared pages count once in the first alone."""
        found = [process.memory_full_info() for process in self.processes()]
        return sum(one.pss for one in found) / 2**20, sum(one.rss for one in found) / 2**20

    def drain(self) -> None:
        """Wait for what still computes for requests that have been answered or given up."""
        give_up_at = time.monotonic() + _DRAIN_LIMIT_S
        while time.monotonic() < give_up_at:
            before = self.cpu_s()
            time.sleep(_LOOK_S)
            if self.cpu_s() - before < _BUSY_SHARE * _LOOK_S:
                return

    def pause(self) -> None:
        """Stop all of them where they are, so that what polls while idle costs the others nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def end(self) -> None:
        """Ask the root to end, then end by force whoever is left."""
        family = self.processes()
        self.resume()
        with contextlib.suppress(psutil.NoSuchProcess):
            self.root.terminate()
        _, left = psutil.wait_procs(family, timeout=_END_LIMIT_S)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)


@contextmanager
def started(command: Sequence[str], folder: Path, environment: dict[str, str], log: Path) -> Iterator[Tree]:
    """Run ``command`` in ``folder`` until the block ends; what it says goes to ``log``."""
    with log.open("wb") as output:
        tree = Tree(psutil.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output))
    try:
        yield tree
    finally:
        tree.end()


def measure(urls: Sequence[str], image: Path, concurrency: int, seconds: float, trees: Sequence[Tree]) -> Sample:
    """Load on ``urls`` and the CPU time that ``trees`` took for it; a second of load comes first, uncounted."""
    body = image.read_bytes()
    asyncio.run(offer(urls, body, "image/jpeg", concurrency, min(_WARM_UP_S, seconds)))
    for tree in trees:
        tree.drain()
    before = sum(tree.cpu_s() for tree in trees)
    sample = asyncio.run(offer(urls, body, "image/jpeg", concurrency, seconds))
    for tree in trees:
        tree.drain()
    cpu_s = sum(tree.cpu_s() for tree in trees) - before
    return Sample(sample.latencies_ms, sample.wall_s, cpu_s, sample.failed)
