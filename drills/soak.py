"""``python -m drills.soak``: slices for minutes on end through everything that ``make run`` starts.

Exits with 1 unless every answer is a 200 and says what the first one said, no process takes more and more memory or
opens more and more files, none is started again, and Ctrl-C ends all of it with 0.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

from drills.callers import Callers, calling
from tests.fixtures.servers import ROOT
from tests.support.embedded import Embedded, embedded

_CALLERS: Final = 4
# Before this share of the time is over, caches fill and memory is not counted.
_WARM_SHARE: Final = 0.3
_LOOK_S: Final = 1.0
# What may be added between the warm part's end and the end: allocators and logs breathe.
_MORE_MIB: Final = 48.0
_MORE_FILES: Final = 8
_START_LIMIT_S: Final = 300.0

# By service, resident MiB and open files at one moment.
Footprint = dict[str, tuple[float, int]]


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m drills.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    seconds = parser.parse_args().seconds
    with (
        tempfile.TemporaryDirectory(prefix="falx-soak-") as name,
        embedded(ROOT / "models", Path(name), limit_s=_START_LIMIT_S) as site,
    ):
        began = site.services()
        with calling(site, _CALLERS) as callers:
            footprints = _watch(began, seconds)
        faults = faults_of(callers, footprints) + _restarted(began, site)
        site.process.send_signal(signal.SIGINT)
        if (code := site.process.wait(_START_LIMIT_S)) != 0:
            faults.append(f"after Ctrl-C the exit code is {code}")
    sys.stdout.write("\n".join([*_report(callers, footprints, seconds), *_said(faults)]) + "\n")
    return 1 if faults else 0


def _watch(services: dict[str, psutil.Process], seconds: float) -> list[Footprint]:
    """A look at every service once a second, for ``seconds`` seconds."""
    end = time.monotonic() + seconds
    footprints = []
    while time.monotonic() < end:
        time.sleep(_LOOK_S)
        footprints.append(
            {name: (one.memory_info().rss / 2**20, one.num_fds()) for name, one in services.items() if one.is_running()}
        )
    return footprints


def _there_all_along(footprints: list[Footprint]) -> list[str]:
    return [name for name in footprints[0] if all(name in one for one in footprints)]


def growth(footprints: list[Footprint], name: str) -> tuple[float, int]:
    """How many MiB and files a service has gained since it was warm; medians over a tenth of the time each."""
    warm = int(len(footprints) * _WARM_SHARE)
    tenth = max(1, len(footprints) // 10)
    before, after = footprints[warm : warm + tenth], footprints[-tenth:]
    memory = statistics.median(one[name][0] for one in after) - statistics.median(one[name][0] for one in before)
    files = statistics.median(one[name][1] for one in after) - statistics.median(one[name][1] for one in before)
    return memory, int(files)


def faults_of(callers: Callers, footprints: list[Footprint]) -> list[str]:
    faults = [f"{count} answers: {outcome}" for outcome, count in callers.outcomes().items() if outcome != 200]
    for name in _there_all_along(footprints):
        memory, files = growth(footprints, name)
        if memory > _MORE_MIB:
            faults.append(f"{name} has {memory:.0f} MiB more than when it was warm")
        if files > _MORE_FILES:
            faults.append(f"{name} has {files} files open more than when it was warm")
    return faults


def _restarted(began: dict[str, psutil.Process], site: Embedded) -> list[str]:
    now = site.services()
    return [f"{name} ended by itself" for name, process in began.items() if now.get(name) != process]


def _report(callers: Callers, footprints: list[Footprint], seconds: float) -> list[str]:
    times = sorted(call.took_s for call in callers.calls)
    lines = [
        f"answers             {len(times)} in {seconds:g} s, {callers.outcomes()[200]} of them right",
        f"milliseconds        median {1e3 * statistics.median(times):.0f}, longest {1e3 * times[-1]:.0f}",
    ]
    for name in _there_all_along(footprints):
        memory, files = growth(footprints, name)
        resident, open_files = footprints[-1][name]
        lines.append(f"{name:<20}{resident:.0f} MiB ({memory:+.0f} since warm), {open_files} open files ({files:+d})")
    return lines


def _said(faults: list[str]) -> list[str]:
    return [f"BROKEN: {fault}" for fault in faults] or ["nothing was lost, nothing grew"]


if __name__ == "__main__":
    sys.exit(main())
