"""The child process around the native codecs: it may die, and nobody else notices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydicom import uid

from core.imaging.dicom import isolated
from core.imaging.dicom.isolated import CodecFailed, CodecPool
from tests.fixtures.images import encode_frame, make_head_slice

HEAD = make_head_slice(48, 56, seed=2)
STREAM = encode_frame(HEAD, uid.JPEGLosslessSV1, 8)


@pytest.fixture
def pool() -> Iterator[CodecPool]:
    pool = CodecPool()
    yield pool
    pool.close()


@pytest.fixture
def others(pool: CodecPool) -> set[psutil.Process]:
    """Children of the pool that all decoders share: tests that come later go on with them."""
    return set(children())


def decoded(pool: CodecPool, stream: bytes = STREAM) -> bytes:
    return pool.decode(str(uid.JPEGLosslessSV1), HEAD.shape, (8, 8), False, stream)


def children() -> list[psutil.Process]:
    # Other tests kill servers of their own; what is left of them until the interpreter ends has no command line.
    own = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in own if any("codec_worker" in word for word in child.cmdline())]


def test_a_frame_comes_back_as_it_was(pool: CodecPool) -> None:
    assert np.frombuffer(decoded(pool), np.uint8).reshape(HEAD.shape).tolist() == HEAD.tolist()


def test_one_child_serves_many_frames(pool: CodecPool) -> None:
    before = len(children())
    for _ in range(5):
        decoded(pool)
    assert len(children()) == before + 1


def test_a_refused_frame_leaves_the_child_in_use(pool: CodecPool) -> None:
    with pytest.raises(CodecFailed):
        decoded(pool, b"\xff\xd8 garbage")
    assert decoded(pool) == HEAD.tobytes()


def test_a_dead_child_costs_one_frame_at_most(pool: CodecPool, others: set[psutil.Process]) -> None:
    decoded(pool)
    for child in set(children()) - others:
        child.kill()
        child.wait(10)
    with pytest.raises(CodecFailed, match="died"):
        decoded(pool)
    assert decoded(pool) == HEAD.tobytes()


def test_a_child_that_takes_too_long_is_ended(
    pool: CodecPool, others: set[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded(pool)
    monkeypatch.setattr(isolated, "_LIMIT_S", 0.3)
    for child in set(children()) - others:
        child.send_signal(signal.SIGSTOP)
    started_s = time.monotonic()
    with pytest.raises(CodecFailed):
        decoded(pool)
    assert time.monotonic() - started_s < 10


def test_threads_use_children_of_their_own(pool: CodecPool) -> None:
    right: list[bool] = []

    def work() -> None:
        right.extend(decoded(pool) == HEAD.tobytes() for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 30
    assert all(right)


def test_closing_ends_the_children() -> None:
    before = len(children())
    pool = CodecPool()
    decoded(pool)
    assert len(children()) == before + 1
    pool.close()
    assert len(children()) == before


def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    stream = tmp_path / "stream"
    stream.write_bytes(STREAM)
    program = (
        "import os, signal, pathlib, psutil\n"
        "from core.imaging.dicom.isolated import CODECS\n"
        f"CODECS.decode({str(uid.JPEGLosslessSV1)!r}, {HEAD.shape}, (8, 8), False,"
        f" pathlib.Path({str(stream)!r}).read_bytes())\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).resolve().parents[5]
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True
    )
    child = int(ended.stdout)
    end_s = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end_s, "the child is still there"
        time.sleep(0.05)
