"""A short run of ``make chaos``: the promises about accepted jobs, held against real kills."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.fixtures.servers import ROOT

# For a machine that is busy with twenty other things; a quiet one is done within a minute.
LIMIT_S = 1500
OPTIONS = ["--jobs", "12", "--deeds", "5", "--seed", "3", "--pause-s", "1", "--cancel-limit-s", "20"]


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 400)
def test_no_accepted_job_is_lost_whatever_is_killed() -> None:
    command = [sys.executable, "-m", "drills.chaos", *OPTIONS, "--limit-s", str(LIMIT_S)]
    # A session of its own, so that nothing is left of it where the time runs out.
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S + 300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "every promise was kept" in output
    assert "accepted            12 of 12" in output
    killed = re.search(r"worker (\d+), gateway (\d+), valkey (\d+)", output)
    assert killed is not None
    assert [int(count) for count in killed.groups()] == [2, 1, 1]
