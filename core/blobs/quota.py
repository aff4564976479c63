"""How much may be stored: a limit for all blobs together, and room that is left on the disk."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import StorageFull

# Between two counts of what is stored, each process knows only of its own writing.
_RECOUNT_S: Final = 60.0


class Reservation:
    """The bytes of one upload so far."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self.size = 0

    def grow(self, size: int) -> None:
        """Take ``size`` bytes more. Raises ``StorageFull``."""
        self._quota.take(size)
        self.size += size


class Quota:
    """Counts what is stored with ``count``, at most once a minute, and adds what this process writes in between.

    Used from any thread. Processes that write at the same time may together exceed ``max_bytes`` by what they write in
    a minute; ``min_free_bytes`` on the disk of ``folder`` they keep exactly.
    """

    def __init__(
        self, count: Callable[[], int], max_bytes: int | None, folder: Path | None, min_free_bytes: int
    ) -> None:
        self._count = count
        self._max_bytes = max_bytes
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self._used = 0
        self._counted_at: float | None = None

    def refresh(self) -> None:
        """Count again if the last count is old; blocks while it lists the store."""
        if self._max_bytes is None:
            return
        if self._counted_at is None or time.monotonic() - self._counted_at > _RECOUNT_S:
            used = self._count()
            with self._lock:
                self._used, self._counted_at = used, time.monotonic()

    @contextmanager
    def reserve(self) -> Iterator[Reservation]:
        """An upload: what it took is given back if it fails. Raises ``StorageFull`` where not a byte is left."""
        reservation = Reservation(self)
        self.take(1)
        self.give_back(1)
        try:
            yield reservation
        except BaseException:
            self.give_back(reservation.size)
            raise

    def take(self, size: int) -> None:
        """Count ``size`` bytes more, or raise ``StorageFull``."""
        if self._folder is not None and shutil.disk_usage(self._folder).free - size < self._min_free_bytes:
            raise StorageFull("There is no room left on the disk.")
        with self._lock:
            if self._max_bytes is not None and self._used + size > self._max_bytes:
                raise StorageFull(f"All stored files together may have {self._max_bytes} bytes, which is reached.")
            self._used += size

    def give_back(self, size: int) -> None:
        """Count ``size`` bytes less."""
        with self._lock:
            self._used = max(0, self._used - size)
