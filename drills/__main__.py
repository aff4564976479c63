"""``python -m drills``: run what takes longer than a test may, one after the other, and write docs/drills.md.

``--list`` says what there is. A drill ends with 0 or it has failed; what it prints at its end is kept. Run all of them
before a release, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.report import machine

_ROOT: Final = Path(__file__).resolve().parents[1]
_PAGE: Final = _ROOT / "docs" / "drills.md"
# Fewer lines than any drill's report has beside its progress.
_MOST_LINES: Final = 40

_HEAD: Final = """# Drills

Written by `make drills` (`python -m drills`); do not edit by hand. Drills are what takes longer than a test may. They
are run before a release ([CONTRIBUTING.md](../CONTRIBUTING.md)), and these are the last results.
"""


@dataclass(frozen=True, slots=True)
class Drill:
    """One of them: what it shows, and its command, of which the short one fits into two minutes."""

    name: str
    shows: str
    command: tuple[str, ...]
    short: tuple[str, ...]


DRILLS: Final = (
    Drill(
        "chaos",
        "Jobs while workers, gateway and queue are killed and the disk is full: every accepted one is kept.",
        ("drills.chaos", "--jobs", "120", "--seed", "7"),
        ("drills.chaos", "--jobs", "30", "--seed", "7"),
    ),
    Drill(
        "chaos-again",
        "The same with other jobs and another order of damage.",
        ("drills.chaos", "--jobs", "60", "--seed", "11"),
        ("drills.chaos", "--jobs", "20", "--seed", "11"),
    ),
    Drill(
        "restarts",
        "Each service of `make run` is killed in turn while slices are sent: it comes back and answers as before.",
        ("drills.restarts", "--rounds", "4"),
        ("drills.restarts", "--rounds", "1"),
    ),
    Drill(
        "soak",
        "Slices without a pause through all of `make run`: every answer is the first one, and no process grows.",
        ("drills.soak", "--seconds", "1200"),
        ("drills.soak", "--seconds", "60"),
    ),
    Drill(
        "inputs",
        "The costliest files within the limits: three seconds of a CPU and 500 MB are enough for any of them.",
        ("drills.inputs",),
        ("drills.inputs", "--pixels", "1000000"),
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a drill ended with and what it said last."""

    drill: Drill
    command: tuple[str, ...]
    code: int
    took_s: float
    said: list[str]


def main() -> int:
    """1 where a drill has failed."""
    arguments = _arguments()
    if arguments.list:
        for drill in DRILLS:
            print(f"{drill.name:<14}{drill.shows}")
        return 0
    chosen = [drill for drill in DRILLS if not arguments.names or drill.name in arguments.names]
    failed = 0
    for drill in chosen:
        result = _run(drill, drill.short if arguments.short else drill.command)
        failed += result.code != 0
        output: Path = arguments.output
        output.write_text(page(output.read_text() if output.exists() else "", [result]))
    print(f"wrote {arguments.output}; {failed} of {len(chosen)} failed")
    return int(failed > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make drills", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; without a name all")
    parser.add_argument("--list", action="store_true", help="say what there is and stop")
    parser.add_argument("--short", action="store_true", help="minutes instead of an hour: to see that they still run")
    parser.add_argument("--output", type=Path, default=_PAGE, help="where the results go (docs/drills.md)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {drill.name for drill in DRILLS}:
        parser.error(f"no such drill: {', '.join(sorted(unknown))}")
    return arguments


def _run(drill: Drill, command: tuple[str, ...]) -> Result:
    """Run it; what it says is shown and kept."""
    print(f"\n=== {drill.name}: {drill.shows}", flush=True)
    began = time.monotonic()
    said = []
    with subprocess.Popen([sys.executable, "-m", *command], cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            said.append(line.rstrip())
    return Result(drill, command, process.returncode, time.monotonic() - began, said)


def page(before: str, results: Sequence[Result]) -> str:
    """The page that was ``before``, with the last result of each drill."""
    sections = {text.partition(":")[0]: text.rstrip() for text in before.split("\n## ")[1:]}
    sections |= {result.drill.name: _section(result) for result in results}
    known = [sections[drill.name] for drill in DRILLS if drill.name in sections]
    return _HEAD + "".join(f"\n## {section}\n" for section in known)


def _section(result: Result) -> str:
    outcome = "passed" if result.code == 0 else f"**failed, exit code {result.code}**"
    # Progress stands in brackets with its time.
    said = [line for line in result.said if not line.startswith("[")][-_MOST_LINES:]
    lines = [
        f"{result.drill.name}: {outcome}",
        "",
        result.drill.shows,
        "",
        f"- `python -m {' '.join(result.command)}`, {result.took_s:.0f} s",
        f"- {datetime.now(UTC):%Y-%m-%d}, commit {_commit()}",
        f"- {machine()}",
        "",
        "```text",
        *said,
        "```",
    ]
    return "\n".join(lines)


def _commit() -> str:
    git = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, cwd=_ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
