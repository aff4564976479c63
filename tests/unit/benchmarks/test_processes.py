"""What one system takes is counted whole: its children, and those that have gone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.processes import Tree, started

# A child that computes for half a CPU second, or one that is never waited for and sleeps.
_SPIN = "import time\nwhile time.process_time() < 0.5: pass"
_PARENT = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {_SPIN!r}])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[tuple[Tree, int]]:
    log = tmp_path / "log"
    with started([sys.executable, "-c", _PARENT], tmp_path, dict(os.environ), log) as tree:
        until(lambda: log.read_text().strip())
        yield tree, int(log.read_text())
    assert not psutil.pid_exists(int(log.read_text())) or psutil.Process(int(log.read_text())).status() == "zombie"


def test_cpu_of_a_child_that_has_ended_and_memory_of_one_that_lives_count(tree: tuple[Tree, int]) -> None:
    system, child = tree
    assert [process.pid for process in system.processes()] == [system.root.pid, child]
    assert system.cpu_s() >= 0.5
    pss, rss = system.memory_mib()
    assert psutil.Process(child).memory_info().rss / 2**20 < rss
    assert 0 < pss < rss
    system.drain()


def test_all_of_it_can_be_held_still(tree: tuple[Tree, int]) -> None:
    system, child = tree
    pids = (system.root.pid, child)
    system.pause()
    # A signal takes effect a moment after it was sent.
    until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in pids))
    system.resume()
    until(lambda: all(psutil.Process(pid).status() != psutil.STATUS_STOPPED for pid in pids))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
