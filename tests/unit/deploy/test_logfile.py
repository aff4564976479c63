"""Log files that children append to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.logfile import LogFile


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "logs" / "toy.log")


def write(descriptor: int, text: str) -> None:
    os.write(descriptor, text.encode())


def test_tail_is_of_the_current_process_alone(log: LogFile) -> None:
    first = log.open_for_child()
    write(first, "old fault\n")
    os.close(first)
    second = log.open_for_child()
    write(second, "one\ntwo\nthree\n")
    assert log.tail(lines=2) == ["two", "three"]
    assert log.tail(lines=99) == ["one", "two", "three"]
    assert log.path.read_text().startswith("old fault\n")
    os.close(second)


def test_fresh_lines_come_once_and_whole(log: LogFile) -> None:
    descriptor = log.open_for_child()
    write(descriptor, "one\ntw")
    assert list(log.fresh_lines()) == ["one"]
    assert list(log.fresh_lines()) == []
    write(descriptor, "o\n")
    assert list(log.fresh_lines()) == ["two"]
    os.close(descriptor)


def test_a_full_file_moves_aside_under_a_writing_child(log: LogFile) -> None:
    descriptor = log.open_for_child()
    write(descriptor, "long line\n" * 20)
    log.rotate(max_bytes=1000)
    assert not log.path.with_name("toy.log.1").exists()
    log.rotate(max_bytes=100)
    write(descriptor, "next\n")
    assert log.path.read_text() == "next\n"
    assert log.path.with_name("toy.log.1").read_text() == "long line\n" * 20
    assert list(log.fresh_lines()) == ["next"]
    os.close(descriptor)


def test_no_file_has_no_tail(log: LogFile) -> None:
    log.rotate()
    assert log.tail() == []


def test_bytes_that_are_no_text_do_not_stop_the_tail(log: LogFile) -> None:
    descriptor = log.open_for_child()
    os.write(descriptor, b"caf\xe9\n")
    assert log.tail() == ["caf\N{REPLACEMENT CHARACTER}"]
    os.close(descriptor)


def test_a_log_that_cannot_be_moved_stays(log: LogFile) -> None:
    """As on a full disk, which the place of the copy stands for."""
    descriptor = log.open_for_child()
    write(descriptor, "x" * 100)
    os.close(descriptor)
    before = log.path.with_name(log.path.name + ".1")
    before.symlink_to("/dev/full")
    log.rotate(max_bytes=10)
    assert log.path.read_text() == "x" * 100
    assert not before.is_symlink()
    log.rotate(max_bytes=10)
    assert (log.path.read_text(), before.read_text()) == ("", "x" * 100)
