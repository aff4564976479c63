"""Small real jobs for the tests of the queue; what they do is chosen by the job's type."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

from core.contracts.jobs import JobOutcome, StoredFile
from core.errors import InconsistentGeometry, StorageUnavailable
from core.jobs.handler import Work


def folder() -> Path:
    """Where jobs leave their traces."""
    return Path(os.environ["JOBS_TEST_FOLDER"])


def trace(work: Work, text: str) -> None:
    """One more line of what happened to this job."""
    with (folder() / f"{work.record.id}.log").open("a") as log:
        log.write(f"{text}\n")


def work(work: Work) -> JobOutcome:
    """Do what the type says."""
    trace(work, f"attempt {work.record.attempts} pid {os.getpid()}")
    sys.stdout.write("what a library prints must not be taken for a message\n")
    sys.stdout.flush()
    {
        "echo": _nothing,
        "slow": _slow,
        "first-dies": _first_dies,
        "segfault": _segfault,
        "hold-gil": _hold_gil,
        "refuse": _refuse,
        "flaky": _flaky,
        "broken": _broken,
        "grandchild": _grandchild,
    }[work.record.request.type](work)
    data = f"{work.record.id} done".encode()
    trace(work, "done")
    return JobOutcome(
        results=(
            StoredFile(
                name="report.json",
                media_type="application/json",
                size=len(data),
                sha256=sha256(data).hexdigest(),
                blob=f"jobs/{work.record.id}/results/{work.record.attempts}/report.json",
            ),
        ),
        measurements={"volume_ml": 1.5, "nothing": None},
        provenance={"attempt": work.record.attempts},
        warnings=("a warning",),
    )


def _nothing(work: Work) -> None:
    work.report("only", 1.0)


def _slow(work: Work) -> None:
    """Two seconds in four stages."""
    for index, stage in enumerate(("read", "prepare", "segment", "write")):
        work.report(stage, index / 4)
        time.sleep(0.5)


def _first_dies(work: Work) -> None:
    if work.record.attempts == 1:
        _segfault(work)


def _segfault(work: Work) -> None:
    ctypes.string_at(0)


def _hold_gil(work: Work) -> None:
    """Sleep in native code without letting go of the interpreter."""
    work.report("native", 0.5)
    ctypes.PyDLL(None).sleep(60)


def _refuse(work: Work) -> None:
    raise InconsistentGeometry("flair has another grid than t1.")


def _flaky(work: Work) -> None:
    if work.record.attempts == 1:
        raise StorageUnavailable("The storage is away.")


def _broken(work: Work) -> None:
    raise RuntimeError("Doe^Jane was in the header")


def _grandchild(work: Work) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    trace(work, f"grandchild {child.pid}")
    time.sleep(60)
