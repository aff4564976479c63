"""``python -m drills.inputs``: the costliest files that are let in, each decoded in a process of its own.

Exits with 1 where one takes more than three seconds of a CPU or 500 MB, whatever comes of it. Times are those of a CPU,
so that a busy machine does not change them much; a slow one does.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Final

from core.imaging.limits import ImageLimits
from drills.inputs import dicom, raster
from tests.fixtures.servers import ROOT

_CPU_S: Final = 3.0
# Time that a process spends on being ended, and on what is measured around it.
_SLACK_S: Final = 0.3
_MB: Final = 500.0
_LIMIT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one file took: bytes, seconds of a CPU, megabytes; ``outcome`` is its size in pixels or a code."""

    name: str
    size: int
    cpu_s: float
    mb: float
    outcome: str

    @property
    def bounded(self) -> bool:
        """Whether it keeps within what any file may take."""
        return self.cpu_s <= _CPU_S + _SLACK_S and self.mb <= _MB


def main() -> int:
    """1 where a file costs too much."""
    arguments = _arguments()
    side = math.isqrt(arguments.pixels)
    costs = []
    for name, make in (raster.CASES | dicom.CASES).items():
        if arguments.names and not any(word in name for word in arguments.names):
            continue
        cost = _measured(name, make(side))
        print(_line(cost), flush=True)
        costs.append(cost)
    broken = [cost.name for cost in costs if not cost.bounded]
    print(f"{len(costs)} kinds of files, {side} pixels a side; beyond the bounds: {', '.join(broken) or 'none'}")
    return 1 if broken or not costs else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m drills.inputs", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="WORD", help="only files with one of these words in their name")
    parser.add_argument("--pixels", type=int, default=ImageLimits().max_pixels, help="of the largest (the limit)")
    return parser.parse_args()


def _measured(name: str, data: bytes) -> Cost:
    ImageLimits().check_bytes(len(data))
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = [sys.executable, "-m", "drills.inputs.decode", file.name]
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=_LIMIT_S).stdout
    return Cost(name, len(data), **json.loads(output))


def _line(cost: Cost) -> str:
    mark = "" if cost.bounded else "  TOO MUCH"
    size = f"{cost.size / 1e6:5.1f} MB"
    return f"{cost.name:<40}{size}  {cost.cpu_s:5.2f} s  {cost.mb:4.0f} MB  {cost.outcome}{mark}"


if __name__ == "__main__":
    sys.exit(main())
