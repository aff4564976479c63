"""Freed memory stays with the process."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from core.runtime.memory import keep_freed_memory

# Arrays as those of an image of 512 pixels a side: how many pages fifty rounds of them fault in.
PROGRAM = """
import resource, sys, threading
import numpy as np
from core.runtime.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def work(rounds):
    for _ in range(rounds):
        arrays = [np.ones((512, 512), np.float32) for _ in range(4)]
def measured():
    work(3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(50)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=measured)
thread.start()
thread.join()
"""


def faults(kept: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", PROGRAM, kept], text=True))


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is the C library's of Linux")
def test_memory_of_images_is_faulted_in_once() -> None:
    if not keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    page = resource.getpagesize()
    round_of_arrays = 4 * 512 * 512 * 4 // page
    assert faults("left") > 10 * round_of_arrays
    assert faults("kept") < round_of_arrays
