"""The queue's server of the embedded default, and who looks after it.

``python -m deploy.queue_server FOLDER`` starts a Valkey in FOLDER, prints its address, starts it again should it die,
and stops it at the end of its stdin. So the server goes with the supervisor, however that ends, although it is made to
outlive whoever starts it. A server that cannot write ends itself, so on a full disk it is started again until there is
room; until then a reserve helps it, which is kept while there is plenty. ``LEAVE`` on stdin means that nobody uses it
any more; an end without it is a supervisor that was killed, whose services need a moment to hand back what they have.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from core.errors import StartupError
from core.jobs.embedded import EmbeddedValkey, server_binary

LEAVE: Final = b"leave\n"
_STDIN: Final = 0
_LOOK_S: Final = 1.0
_ORPHANED_S: Final = 10.0
_STOP_S: Final = 60.0
# Enough for the records of thousands of jobs to be cancelled and deleted, which makes room.
_RESERVE_BYTES: Final = 16 * 1024 * 1024
# Of a small disk, no more than this share.
_RESERVE_SHARE: Final = 8


class QueueServer:
    """The server in ``folder`` and its keeper, for as long as this process lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """The server's address, for ``FALX_REDIS_URL``. Raises ``StartupError`` where it cannot run here."""
        server_binary()
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "deploy.queue_server", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in the terminal is for the supervisor, which stops the services first.
            start_new_session=True,
        )
        assert self._keeper.stdout is not None  # noqa: S101  asked for above
        scheme, _, rest = self._keeper.stdout.readline().decode().strip().partition(" ")
        if scheme != "ready":
            self._keeper.communicate()
            self._keeper = None
            raise StartupError(rest or "the queue's server did not start")
        return rest

    def stop(self) -> None:
        """Stop the server: nobody uses it any more."""
        if self._keeper is None:
            return
        try:
            self._keeper.communicate(LEAVE, timeout=_STOP_S)
        except (subprocess.TimeoutExpired, OSError):
            self._keeper.kill()
            self._keeper.wait()
        # Nothing is left to do unless somebody has killed the keeper.
        EmbeddedValkey(self._folder).stop()


def keep(folder: Path) -> int:
    """Keep a server in ``folder`` until the end of stdin; the exit code."""
    server = EmbeddedValkey(folder)
    try:
        address = server.start()
    except (StartupError, OSError) as error:
        print(f"failed {error}", flush=True)
        return 1
    print(f"ready {address}", flush=True)
    reserve = Reserve(folder)
    pid = server.pid()
    try:
        while not select.select([_STDIN], [], [], _LOOK_S)[0]:
            if not _gone(pid):
                reserve.fill()
                continue
            # Loads what it had written. Elsewhere it would be of no use: services know the address.
            try:
                if server.start() != address:
                    return 1
                pid = server.pid()
            except (StartupError, OSError):
                # Most likely the disk is full. Whoever waits for room may be who makes it.
                pid = None
                reserve.release()
        if os.read(_STDIN, len(LEAVE)) != LEAVE:
            time.sleep(_ORPHANED_S)
    finally:
        server.stop()
        reserve.release()
    return 0


class Reserve:
    """Room on the disk of ``folder`` that is taken while nobody needs it, and let go when the server has none left."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "reserve"
        self._size = min(_RESERVE_BYTES, shutil.disk_usage(folder).total // _RESERVE_SHARE)
        self._held = False

    def fill(self) -> None:
        """Take the room, unless it is held already or there is less than twice as much."""
        if self._held or shutil.disk_usage(self._path.parent).free < 2 * self._size:
            return
        try:
            with self._path.open("wb") as file:
                _allocate(file.fileno(), self._size)
        except OSError:
            self.release()
        else:
            self._held = True

    def release(self) -> None:
        """Let it go."""
        self._held = False
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _allocate(descriptor: int, size: int) -> None:
    """Blocks of the disk, not just a length; macOS has no call for it that Python knows."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    chunk = bytes(1024 * 1024)
    for _ in range(-(-size // len(chunk))):
        os.write(descriptor, chunk)


def _gone(pid: int | None) -> bool:
    """Whether there is no such process. One that merely does not answer has the files open still."""
    if pid is None:
        return True
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        # Found, not started, by this process.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1])))
