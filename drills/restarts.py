"""``python -m drills.restarts``: each service of ``make run`` is killed in turn while people send slices.

Exits with 1 unless each one is started again by the supervisor and answers as before. While it is away callers get a
right answer, a 503 or 504 that they may try again, or a broken connection; the other model server's answers go on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drills.callers import PATHS, Call, Callers, calling
from tests.fixtures.servers import ROOT
from tests.support.embedded import SERVICES, Embedded, embedded

_CALLERS: Final = 2
_PAUSE_S: Final = 0.2
# Answers that are seen before the next service is killed.
_QUIET_CALLS: Final = 10
_START_LIMIT_S: Final = 300.0
_AWAY: Final = frozenset({503, 504})
_NO_CONNECTION: Final = frozenset(
    {"ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError", "RemoteDisconnected", "IncompleteRead"}
)
_ANSWERS: Final = {"classifier_service": PATHS[:1], "segmenter_service": PATHS[1:], "gateway": PATHS}


@dataclass(frozen=True, slots=True)
class Death:
    """One kill: which service, when, and when each path was answered again (monotonic seconds)."""

    service: str
    at: float
    back: float


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m drills.restarts", description=__doc__)
    # After five deaths with less than a minute between them the supervisor gives a service up.
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 5), help="how often each is killed (3)")
    rounds = parser.parse_args().rounds
    deaths = []
    with (
        tempfile.TemporaryDirectory(prefix="falx-restarts-") as name,
        embedded(ROOT / "models", Path(name), limit_s=_START_LIMIT_S) as site,
        calling(site, _CALLERS, _PAUSE_S) as callers,
    ):
        for _ in range(rounds):
            for service in SERVICES:
                _wait_for_answers(site, callers, PATHS, time.monotonic(), _QUIET_CALLS)
                deaths.append(_kill(site, callers, service))
        _wait_for_answers(site, callers, PATHS, time.monotonic(), _QUIET_CALLS)
    faults = faults_of(callers.calls, deaths)
    sys.stdout.write("\n".join([*_report(callers, deaths), *_said(faults)]) + "\n")
    return 1 if faults else 0


def _kill(site: Embedded, callers: Callers, service: str) -> Death:
    at = time.monotonic()
    site.services()[service].kill()
    _wait_for_answers(site, callers, _ANSWERS[service], at, 1)
    return Death(service, at, time.monotonic())


def _wait_for_answers(site: Embedded, callers: Callers, paths: tuple[str, ...], since: float, count: int) -> None:
    """Until each path has had ``count`` right answers to requests that began after ``since``."""

    def answered() -> bool:
        begun = [call.path for call in tuple(callers.calls) if call.outcome == 200 and call.ended - call.took_s > since]
        return all(begun.count(path) >= count for path in paths)

    site.wait_until(answered, f"{count} answers on {', '.join(paths)}")


def faults_of(calls: list[Call], deaths: list[Death]) -> list[str]:
    faults = []
    for call in calls:
        death = next((one for one in deaths if call.ended > one.at and call.ended - call.took_s < one.back), None)
        allowed: set[int | str] = {200} if death is None or call.path not in _ANSWERS[death.service] else {200, *_AWAY}
        if death is not None and death.service == "gateway":
            allowed |= _NO_CONNECTION
        if call.outcome not in allowed:
            when = "in peace" if death is None else f"after the death of {death.service}"
            faults.append(f"{call.path} {when}: {call.outcome}")
    return faults


def _report(callers: Callers, deaths: list[Death]) -> list[str]:
    outcomes = ", ".join(f"{count} x {outcome}" for outcome, count in callers.outcomes().most_common())
    lines = [f"answers             {outcomes}", "seconds from SIGKILL to the next right answer"]
    for service in SERVICES:
        times = [f"{death.back - death.at:.1f}" for death in deaths if death.service == service]
        lines.append(f"{service:<20}{', '.join(times)}")
    return lines


def _said(faults: list[str]) -> list[str]:
    return [f"BROKEN: {fault}" for fault in faults] or ["each came back and answered as before"]


if __name__ == "__main__":
    sys.exit(main())
