"""The supervisor over real child processes: what people read, the order of draining, and that nobody is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import RemoteDisconnected
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def eventually(condition: Callable[[], bool], timeout_s: float = 40.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


@dataclass
class Stack:
    """A supervisor in a process of its own, with two toy services under it."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(2))
    process: subprocess.Popen[str] | None = None

    def start(self, model: str, front: str, *options: str, shell: bool = False, **settings: str) -> Stack:
        command = [sys.executable, "-m", "tests.support.toy_stack", model, str(self.ports[0]), front]
        command += [str(self.ports[1]), *options]
        environment = {
            **os.environ,
            "FALX_DATA_DIR": str(self.folder),
            "TOY_JOURNAL": str(self.folder / "journal"),
            "FALX_START_TIMEOUT_S": "60",
            **settings,
        }
        with (self.folder / "output").open("w") as output:
            self.process = subprocess.Popen(
                ["sh", "-c", f"{' '.join(command)}; true"] if shell else command,
                cwd=ROOT,
                env=environment,
                text=True,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    @property
    def running(self) -> subprocess.Popen[str]:
        assert self.process is not None
        return self.process

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def journal(self, event: str) -> list[str]:
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1] for line in lines if line.startswith(event)]

    def pids(self) -> list[int]:
        return [int(line.split()[2]) for line in (self.folder / "journal").read_text().splitlines()]

    def wait_for(self, text: str) -> None:
        assert eventually(lambda: text in self.output), self.output

    def ask_to_die(self, port: int) -> None:
        with pytest.raises(RemoteDisconnected):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/die", timeout=5)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    yield stack
    if stack.process and stack.process.poll() is None:
        stack.process.kill()
        stack.process.wait()
    if (tmp_path / "journal").exists():
        for pid in stack.pids():
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)


def test_announces_each_service_and_drains_the_front_first(stack: Stack) -> None:
    stack.start("good", "good").wait_for("all ready")
    assert "ready after" in stack.output
    assert "toy 1 on Abacus" in stack.output
    stack.running.send_signal(signal.SIGINT)
    assert stack.running.wait(40) == 0
    assert stack.journal("drained") == ["front", "model"]
    assert stack.output.rstrip().endswith("stopped")


def test_sigterm_before_readiness_stops_all_and_is_no_failure(stack: Stack) -> None:
    stack.start("good", "unready")
    assert eventually(lambda: sorted(stack.journal("started")) == ["front", "model"])
    stack.wait_for("model      ready")
    stack.running.send_signal(signal.SIGTERM)
    assert stack.running.wait(40) == 0
    assert stack.journal("drained") == ["front", "model"]


def test_a_second_signal_kills_what_does_not_leave(stack: Stack) -> None:
    stack.start("good", "stubborn").wait_for("all ready")
    stack.running.send_signal(signal.SIGINT)
    stack.wait_for("draining front")
    stack.running.send_signal(signal.SIGINT)
    assert stack.running.wait(40) == 1
    assert "killing front" in stack.output
    assert not any(psutil.pid_exists(pid) for pid in stack.pids())


def test_the_drain_has_a_limit(stack: Stack) -> None:
    stack.start("good", "stubborn", FALX_DRAIN_TIMEOUT_S="2").wait_for("all ready")
    stack.running.send_signal(signal.SIGTERM)
    assert stack.running.wait(40) == 1
    assert stack.journal("drained") == ["model"]


def test_no_orphan_serves_after_the_supervisor_was_killed(stack: Stack) -> None:
    stack.start("good", "good").wait_for("all ready")
    stack.running.kill()
    assert eventually(lambda: sorted(stack.journal("drained")) == ["front", "model"])
    assert eventually(lambda: not any(psutil.pid_exists(pid) for pid in stack.pids()))


def test_everything_stops_when_the_starting_process_is_gone(stack: Stack) -> None:
    stack.start("good", "good", "--stop-with-parent", shell=True).wait_for("all ready")
    stack.running.kill()  # the shell, as make would be
    stack.wait_for("stopped")
    assert stack.journal("drained") == ["front", "model"]


def test_a_service_that_cannot_start_brings_all_down_with_its_last_lines(stack: Stack) -> None:
    stack.start("broken", "good")
    assert stack.running.wait(40) == 1
    assert "model ended with exit code 1" in stack.output
    assert "no such model: cabbage" in stack.output
    assert stack.journal("started").count("model") == 1


def test_a_start_that_takes_too_long_says_what_is_missing(stack: Stack) -> None:
    stack.start("unready", "good", FALX_START_TIMEOUT_S="6")
    assert stack.running.wait(40) == 1
    assert "model is not ready after 6 s: waits for toy (loading)" in stack.output
    assert "model says hello" in stack.output


def test_a_service_that_dies_is_started_again_and_announced(stack: Stack) -> None:
    stack.start("frail", "good").wait_for("all ready")
    stack.ask_to_die(stack.ports[0])
    stack.wait_for("model ended with exit code 3; starting it again in 1 s")
    assert eventually(lambda: stack.output.count("model      ready after") == 2)
    assert stack.journal("started").count("model") == 2
    stack.running.send_signal(signal.SIGTERM)
    assert stack.running.wait(40) == 0


def test_logs_go_to_files_and_with_verbose_to_the_console_too(stack: Stack) -> None:
    stack.start("good", "good", "--verbose").wait_for("model | model says hello")
    stack.wait_for("front | front says hello")
    assert "front says hello" in (stack.folder / "logs" / "front.log").read_text()
    assert (stack.folder / "logs" / "front.log").stat().st_mode & 0o077 == 0
