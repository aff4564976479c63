"""Log files of the embedded services.

Children write to their file themselves, so what they say while draining is kept even when the supervisor is gone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024
TAIL_BYTES = 16 * 1024


@dataclass(slots=True)
class LogFile:
    """One service's log: ``path``, and ``path`` + ``.1`` with what came before."""

    path: Path
    _seen: int = 0
    _start: int = 0

    def open_for_child(self) -> int:
        """Return a descriptor to append to, and forget what earlier processes wrote."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rotate()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._seen = self._start = os.fstat(descriptor).st_size
        return descriptor

    def rotate(self, max_bytes: int = MAX_BYTES) -> None:
        """Move the content to ``.1`` when the file has grown over ``max_bytes``.

        It is copied and truncated, not renamed: a living child holds the file open, and appends at its new end. On a
        full disk it stays as it is.
        """
        if not self.path.exists() or self.path.stat().st_size <= max_bytes:
            return
        before = self.path.with_name(self.path.name + ".1")
        try:
            shutil.copyfile(self.path, before)
        except OSError:
            before.unlink(missing_ok=True)
            return
        os.truncate(self.path, 0)
        self._seen = self._start = 0

    def tail(self, lines: int = 15) -> list[str]:
        """Return the last lines that the current process wrote."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as stream:
            stream.seek(max(self._start, self.path.stat().st_size - TAIL_BYTES))
            return stream.read().decode(errors="replace").splitlines()[-lines:]

    def fresh_lines(self) -> Iterator[str]:
        """Yield the whole lines written since the last call."""
        with self.path.open("rb") as stream:
            stream.seek(self._seen)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._seen += len(line)
                yield line.decode(errors="replace").rstrip("\n")
