"""The queue's server of the embedded default, and who looks after it.

``python -m deploy.queue_server FOLDER`` starts a Valkey in FOLDER, prints its address, starts it again should it die,
and stops it at the end of its stdin. So the server goes with the supervisor, however that ends, although it is made to
outlive whoever starts it. ``LEAVE`` on stdin means that nobody uses it any more; an end without it is a supervisor
that was killed, whose services need a moment to hand back what they have.
"""

from __future__ import annotations

import os
import select
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
    pid = server.pid()
    try:
        while not select.select([_STDIN], [], [], _LOOK_S)[0]:
            if _gone(pid):
                # Loads what it had written. Elsewhere it would be of no use: services know the address.
                if server.start() != address:
                    return 1
                pid = server.pid()
        if os.read(_STDIN, len(LEAVE)) != LEAVE:
            time.sleep(_ORPHANED_S)
    finally:
        server.stop()
    return 0


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
