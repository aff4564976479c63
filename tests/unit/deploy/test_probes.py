"""Asking for readiness: the supervisor's probe and the container's health check, against real listeners."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.healthcheck import answers_ok
from deploy.readiness import probe

HEALTHCHECK = Path(__file__).resolve().parents[3] / "deploy" / "healthcheck.py"


@contextmanager
def answering(response: bytes) -> Iterator[int]:
    """A listener that gives every caller the same bytes."""
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.recv(65536)
                connection.sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            thread.join()


def http(status: str, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


READY = b"""{"ready": true, "dependencies": [
    {"name": "tumor-classifier", "ready": true, "provider": "CPUExecutionProvider", "version": "1"},
    {"name": "segmenter", "ready": true}, {"name": "segmenter/unet", "ready": true}]}"""
LOADING = b"""{"ready": false, "dependencies": [
    {"name": "classifier", "ready": true}, {"name": "segmenter", "ready": false, "detail": "warming up"}]}"""


def test_a_ready_service_tells_what_it_has() -> None:
    with answering(http("200 OK", READY)) as port:
        state = probe("127.0.0.1", port)
    assert state.ready
    assert state.detail == "tumor-classifier 1 on CPUExecutionProvider, segmenter"


def test_an_unready_service_tells_what_is_missing() -> None:
    with answering(http("503 Service Unavailable", LOADING)) as port:
        state = probe("127.0.0.1", port)
    assert not state.ready
    assert state.detail == "waits for segmenter (warming up)"


def test_another_program_on_the_port_is_not_ready() -> None:
    with answering(http("404 Not Found", b"<html>")) as port:
        state = probe("127.0.0.1", port)
    assert not state.ready
    assert state.detail == "answered 404"


def test_something_that_is_no_http_is_not_ready() -> None:
    with answering(b"SSH-2.0-x\r\n") as port:
        assert not probe("127.0.0.1", port).ready
        assert not answers_ok("/readyz", port)


def test_nobody_there_is_not_ready() -> None:
    with answering(b"") as port:
        pass
    assert not probe("127.0.0.1", port).ready
    assert not answers_ok("/readyz", port)


def test_a_listener_that_never_answers_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not probe("127.0.0.1", port, timeout_s=0.2).ready
        assert not answers_ok("/readyz", port, timeout_s=0.2)


@pytest.mark.parametrize(("status", "code"), [("200 OK", 0), ("503 Service Unavailable", 1)])
def test_the_health_check_program_ends_with_the_verdict(status: str, code: int) -> None:
    with answering(http(status)) as port:
        run = subprocess.run(
            [sys.executable, "-I", "-S", str(HEALTHCHECK), "/readyz"], env={"FALX_PORT": str(port)}, timeout=20
        )
    assert run.returncode == code
