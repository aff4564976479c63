"""What stands between the object-storage library and its users: a digest that is checked, errors that are ours."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from obstore.exceptions import BaseError

from core.errors import NotFound, StorageFull, StorageUnavailable, StoredDataCorrupt

# What a full disk, and what S3-compatible services say.
_FULL: Final = re.compile(r"os error 28|StorageFull|QuotaExceeded|InsufficientStorage|507")
_RETRY_AFTER_S: Final = 5.0


def corrupt() -> StoredDataCorrupt:
    """The error of a blob whose bytes are not those that were written."""
    return StoredDataCorrupt("A stored file is not what was written.")


class Check:
    """Hashes chunks and holds the newest one back until the whole is known to be right."""

    def __init__(self, sha256: str) -> None:
        self._expected = sha256
        self._digest = hashlib.sha256()
        self._held: bytes | None = None

    def add(self, chunk: bytes) -> bytes | None:
        """The chunk before this one."""
        self._digest.update(chunk)
        ready, self._held = self._held, chunk
        return ready

    def last(self) -> Iterator[bytes]:
        """The chunk held back. Raises ``StoredDataCorrupt``."""
        if self._digest.hexdigest() != self._expected:
            raise corrupt()
        if self._held is not None:
            yield self._held


class _SourceFailed(Exception):
    """Carries an exception of whoever gives the bytes through the library."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@contextmanager
def reading() -> Iterator[None]:
    """Around whatever gives the bytes of an upload: its exceptions come out of ``storing`` as they went in."""
    try:
        yield
    except Exception as error:
        raise _SourceFailed(error) from error


@contextmanager
def storing() -> Iterator[None]:
    """Say in our own words what went wrong. Messages of the library quote paths and addresses."""
    try:
        yield
    except _SourceFailed as failed:
        raise failed.error from failed.error.__cause__
    except FileNotFoundError as error:
        raise NotFound("There is no such file.") from error
    except (BaseError, OSError) as error:
        if _FULL.search(str(error)) or getattr(error, "errno", None) == errno.ENOSPC:
            raise StorageFull("There is no room left for the file.") from error
        raise StorageUnavailable("The storage cannot be reached.", retry_after_s=_RETRY_AFTER_S) from error
