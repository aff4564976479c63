"""The one switch between serving and draining, and who may throw it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Drain:
    """Thrown once, by SIGTERM, SIGINT or the death of the supervising process; safe from signals and threads."""

    def __init__(self) -> None:
        self.since_s: float | None = None

    @property
    def active(self) -> bool:
        """True from the first ``begin`` on."""
        return self.since_s is not None

    def begin(self) -> None:
        """Start draining; later calls change nothing."""
        if self.since_s is None:
            self.since_s = time.monotonic()

    def older_than(self, delay_s: float) -> bool:
        """True when draining began at least ``delay_s`` seconds ago."""
        return self.since_s is not None and time.monotonic() - self.since_s >= delay_s


def watch_parent(parent_fd: int, on_death: Callable[[], None]) -> threading.Thread:
    """Call ``on_death`` from a daemon thread once the pipe ``parent_fd`` reaches its end of file.

    The kernel closes the other end when its holder dies, however it dies, SIGKILL included.
    """

    with suppress(OSError):
        os.set_inheritable(parent_fd, False)

    def watch() -> None:
        # A closed or foreign descriptor counts as a dead parent: to drain needlessly is safer than to be an orphan.
        with suppress(OSError):
            while os.read(parent_fd, 4096):
                pass
        on_death()

    thread = threading.Thread(target=watch, name="falx-parent-watch", daemon=True)
    thread.start()
    return thread
