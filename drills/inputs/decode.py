"""``python -m drills.inputs.decode FILE``: decode one file in this process and print as JSON what that took.

Memory is the most that this process and the child that decodes for it had together, less what they had before; the file
itself is counted. Linux alone says so.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path

from core.errors import RequestError
from core.imaging.decode import decode
from core.imaging.dicom.isolated import CODECS
from tests.fixtures.images import make_dicom, make_png


def _cpu_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def _most_mb() -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """Load what every decode needs, and then measure one."""
    for small in (make_png(), make_dicom()):
        decode(small)
    Path("/proc/self/clear_refs").write_text("5")
    before_mb, before_s = _most_mb(), _cpu_s()
    data = Path(sys.argv[1]).read_bytes()
    try:
        height, width = decode(data).shape
        outcome = f"{width} x {height}"
    except RequestError as error:
        outcome = error.code
    most_mb = _most_mb()
    CODECS.close()
    # A child has ended by now, so that its time counts; its memory is that of the largest one.
    child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"cpu_s": _cpu_s() - before_s, "mb": max(most_mb - before_mb, child_mb), "outcome": outcome}))


if __name__ == "__main__":
    main()
