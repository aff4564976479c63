"""A service as a real process: how it starts, drains and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.fixtures.servers import Reply, Server, free_port, running

MODULE = "tests.fixtures.tiny_service"


@contextmanager
def in_flight(server: Server, count: int, seconds: float) -> Iterator[list[Future[Reply]]]:
    """``count`` slow requests that the server has surely taken in."""
    with ThreadPoolExecutor(count) as pool:
        futures = [
            pool.submit(server.request, "POST", f"/v1/slow?seconds={seconds}", b"x" * 1000, None, 60.0)
            for _ in range(count)
        ]
        time.sleep(0.4)
        yield futures


def test_twelve_in_flight_are_answered_on_sigterm_and_it_exits_0() -> None:
    with running(MODULE) as server, in_flight(server, 12, 1.5) as futures:
        server.sigterm()
        replies = [future.result() for future in futures]
        assert [reply.status for reply in replies] == [200] * 12
        assert all(reply.headers["connection"] == "close" for reply in replies)
        assert server.wait() == 0


def test_a_draining_server_refuses_connections_once_its_delay_is_over() -> None:
    with running(MODULE) as server, in_flight(server, 1, 1.5) as futures:
        server.sigterm()
        time.sleep(0.6)
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert futures[0].result().status == 200


def test_during_the_drain_delay_it_answers_but_says_that_it_is_not_ready() -> None:
    with running(MODULE, {"FALX_DRAIN_DELAY_S": "2"}) as server:
        assert server.request("GET", "/readyz").status == 200
        server.sigterm()
        time.sleep(0.2)
        ready = server.request("GET", "/readyz")
        assert ready.status == 503
        assert ready.json()["draining"] is True
        assert ready.json()["ready"] is False
        assert int(ready.headers["retry-after"]) >= 1
        answer = server.request("POST", "/v1/slow?seconds=0", b"x")
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert server.request("GET", "/livez").status == 200
        assert server.wait() == 0


def test_sigint_drains_like_sigterm() -> None:
    with running(MODULE) as server, in_flight(server, 1, 1.0) as futures:
        server.process.send_signal(signal.SIGINT)
        assert futures[0].result().status == 200
        assert server.wait() == 0


def test_a_second_signal_later_exits_at_once() -> None:
    with running(MODULE) as server, in_flight(server, 1, 20.0) as futures:
        server.sigterm()
        time.sleep(1.3)
        server.sigterm()
        assert server.wait(2.0) == 128 + signal.SIGTERM
        with pytest.raises(OSError, match=r".+"):
            futures[0].result()


def test_ctrl_c_followed_by_a_supervisors_sigterm_is_one_wish() -> None:
    with running(MODULE) as server, in_flight(server, 1, 1.0) as futures:
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        server.sigterm()
        assert futures[0].result().status == 200
        assert server.wait() == 0


def test_what_outlives_the_grace_period_gets_503_with_retry_after() -> None:
    with running(MODULE, {"FALX_SHUTDOWN_GRACE_S": "1"}) as server, ThreadPoolExecutor() as pool:
        future = pool.submit(server.request, "POST", "/v1/stubborn?seconds=60", b"")
        time.sleep(0.3)
        started_s = time.monotonic()
        server.sigterm()
        reply = future.result()
        assert reply.status == 503
        assert reply.json()["code"] == "not-ready"
        assert reply.headers["retry-after"] == "1"
        assert server.wait() == 0
        assert time.monotonic() - started_s < 5


def test_the_end_of_the_parents_pipe_drains_and_exits_0() -> None:
    reader, writer = os.pipe()
    with running(MODULE, {"FALX_PARENT_FD": str(reader)}, pass_fds=[reader]) as server:
        os.close(reader)
        with in_flight(server, 3, 1.0) as futures:
            os.close(writer)
            assert [future.result().status for future in futures] == [200] * 3
        assert server.wait() == 0


def test_it_ends_when_its_supervisor_is_killed() -> None:
    """The pipe's other end is held by a process that dies of SIGKILL and can tell nobody."""
    reader, writer = os.pipe()
    supervisor = subprocess.Popen(["sleep", "60"], pass_fds=[writer])
    os.close(writer)
    with running(MODULE, {"FALX_PARENT_FD": str(reader)}, pass_fds=[reader]) as server:
        os.close(reader)
        supervisor.kill()
        supervisor.wait()
        assert server.wait(5.0) == 0


def test_a_descriptor_that_is_no_pipe_counts_as_a_dead_parent() -> None:
    with running(MODULE, {"FALX_PARENT_FD": "77"}, wait_ready=False) as server:
        assert server.wait(20.0) == 0


def test_a_taken_port_is_one_clear_line_and_code_1() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with running(MODULE, port=port, wait_ready=False) as server:
            assert server.wait(20.0) == 1
            assert server.log.strip() == f"falx: cannot listen on 127.0.0.1:{port}: Address already in use."


def test_a_foreign_address_is_one_clear_line_and_code_1() -> None:
    with running(MODULE, {"FALX_HOST": "192.0.2.1"}, wait_ready=False) as server:
        assert server.wait(20.0) == 1
        assert server.log.startswith("falx: cannot listen on 192.0.2.1:")
        assert len(server.log.strip().splitlines()) == 1


def test_wrong_settings_are_one_line_each_without_their_values() -> None:
    env = {"FALX_KEEP_ALIVE_S": "never", "FALX_DRAIN_DELAY_S": "-7"}
    with running(MODULE, env, wait_ready=False) as server:
        assert server.wait(20.0) == 1
        lines = server.log.strip().splitlines()
        assert [line.split(":")[1].strip() for line in lines] == ["FALX_DRAIN_DELAY_S", "FALX_KEEP_ALIVE_S"]
        assert "never" not in server.log
        assert "-7" not in server.log


def test_a_refused_start_is_one_line_and_code_1() -> None:
    with running(MODULE, {"TINY_START": "corrupt"}, wait_ready=False) as server:
        assert server.wait(20.0) == 1
        line = next(json.loads(line) for line in server.log.splitlines() if "cannot start" in line)
        assert line["code"] == "bundle-corrupt"
        assert line["detail"] == "model.onnx does not match its manifest."
        assert "Traceback" not in server.log


def test_an_unforeseen_failure_at_the_start_shows_where_and_exits_1() -> None:
    with running(MODULE, {"TINY_START": "crash"}, wait_ready=False) as server:
        assert server.wait(20.0) == 1
        assert "RuntimeError" in server.log
        assert "tiny_service.py" in server.log


def test_a_stuck_stop_does_not_outlive_a_second_signal() -> None:
    with running(MODULE, {"TINY_STOP": "stuck"}) as server:
        server.sigterm()
        time.sleep(1.5)
        assert server.process.poll() is None
        server.sigterm()
        assert server.wait(2.0) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_stuck_stop_ends_on_its_own_some_time_after_the_grace_period() -> None:
    """Nobody is left to send a second signal when the supervisor has died."""
    with running(MODULE, {"TINY_STOP": "stuck", "FALX_SHUTDOWN_GRACE_S": "0.5"}) as server:
        server.sigterm()
        assert server.wait(20.0) == 1


def test_a_restart_takes_the_same_port_at_once() -> None:
    port = free_port()
    for _ in range(2):
        with running(MODULE, port=port) as server, server.connect() as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1024).startswith(b"HTTP/1.1 200")
            assert server.stop() == 0


def test_its_log_is_json_lines_and_tells_the_life_of_the_process() -> None:
    with running(MODULE) as server:
        assert server.request("POST", "/v1/slow?seconds=0", b"x").status == 200
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log.splitlines()]
    assert [line["event"] for line in lines] == ["starting", "serving", "request", "draining", "stopped"]
    assert all(line["service"] == "tiny" for line in lines)
