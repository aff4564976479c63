"""The server of our own: private, found again, stopped by its process id, nothing lost to SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from core.errors import StartupError
from core.jobs.embedded import EmbeddedValkey


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server that is gone after the test."""
    server = EmbeddedValkey(tmp_path / "data" / "valkey")
    yield server
    server.stop()


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def connect(url: str) -> Redis:
    return Redis(unix_socket_path=url.removeprefix("unix://"))


def test_it_is_private(server: EmbeddedValkey) -> None:
    url = server.start()
    path = Path(url.removeprefix("unix://"))
    assert path.stat().st_mode & 0o077 == 0
    assert server.folder.stat().st_mode & 0o077 == 0
    pid = server.pid()
    assert pid is not None
    assert [c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN] == []


def test_it_is_found_again_by_whoever_asks(server: EmbeddedValkey) -> None:
    url = server.start()
    pid = server.pid()
    other = EmbeddedValkey(server.folder)
    assert other.start() == url
    assert other.pid() == pid
    other.stop()
    assert server.pid() is None


def test_of_many_that_start_it_one_does(server: EmbeddedValkey) -> None:
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(EmbeddedValkey(server.folder).start())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(urls) == 4
    assert len(set(urls)) == 1
    serving = [p for p in psutil.process_iter(["cmdline"]) if str(server.folder) in " ".join(p.info["cmdline"] or ())]
    assert len(serving) == 1


def test_nothing_answered_is_lost_to_sigkill(server: EmbeddedValkey) -> None:
    with connect(server.start()) as client:
        for index in range(50):
            client.set(f"key-{index}", index)
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    assert server.pid() is None
    with connect(server.start()) as client:
        assert [client.get(f"key-{index}") for index in range(50)] == [str(index).encode() for index in range(50)]


def test_a_stop_keeps_the_data(server: EmbeddedValkey) -> None:
    with connect(server.start()) as client:
        client.set("key", "value")
    server.stop()
    server.stop()
    with connect(server.start()) as client:
        assert client.get("key") == b"value"


def test_it_outlives_its_starter(server: EmbeddedValkey) -> None:
    code = "import os, sys; from core.jobs.embedded import EmbeddedValkey; from pathlib import Path\n"
    code += "print(EmbeddedValkey(Path(sys.argv[1])).start(), flush=True); os.kill(os.getpid(), 9)"
    result = subprocess.run([sys.executable, "-c", code, str(server.folder)], capture_output=True, text=True)
    assert server.pid() is not None
    assert server.start() == result.stdout.strip()


def test_a_pid_that_belongs_to_somebody_else_is_left_alone(server: EmbeddedValkey) -> None:
    """After a reboot the number in the file may be any process's."""
    server.folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        record = f'{{"pid": {stranger.pid}, "socket": "{server.folder}/valkey.sock"}}'
        (server.folder / "valkey.json").write_text(record)
        assert server.pid() is None
        server.stop()
        server.start()
        assert server.pid() not in {None, stranger.pid}
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "{}", '{"pid": "x", "socket": "y"}', "[]"])
def test_a_broken_record_is_no_obstacle(server: EmbeddedValkey, text: str) -> None:
    server.folder.mkdir(parents=True)
    (server.folder / "valkey.json").write_text(text)
    server.start()
    assert server.pid() is not None


def test_a_long_folder_gets_a_short_socket(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / ("long-" * 20) / "valkey")
    url = server.start()
    try:
        assert len(url) < 100
        with connect(url) as client:
            assert client.ping()
    finally:
        server.stop()


def test_a_killed_server_in_a_long_folder_comes_back_at_its_address(tmp_path: Path) -> None:
    """Services were told the address once and for all."""
    server = EmbeddedValkey(tmp_path / ("long-" * 20) / "valkey")
    url = server.start()
    try:
        pid = server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        assert server.start() == url
        assert server.pid() not in {None, pid}
    finally:
        server.stop()


def test_a_socket_is_not_put_where_others_may_enter(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / ("long-" * 20) / "valkey")
    shared = Path(tempfile.mkdtemp(prefix="falx-"))
    shared.chmod(0o755)
    server.folder.mkdir(parents=True)
    (server.folder / "valkey.json").write_text(json.dumps({"pid": 1, "socket": str(shared / "valkey.sock")}))
    url = server.start()
    server.stop()
    shared.rmdir()
    assert not url.startswith(f"unix://{shared}")


def test_a_server_that_cannot_start_says_where_to_look(server: EmbeddedValkey) -> None:
    (server.folder / "appendonlydir").mkdir(parents=True)
    (server.folder / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(StartupError, match=r"valkey\.log"):
        server.start()
