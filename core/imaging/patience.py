"""How long somebody waits for what is being read: reading a file ends, at its next step, with the wait for it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from core.errors import DeadlineExceeded

_LEFT: Final[ContextVar[Callable[[], float] | None]] = ContextVar("seconds left", default=None)


@contextmanager
def while_waited_for(left_s: Callable[[], float]) -> Iterator[None]:
    """What is read within, in this thread, is waited for as long as ``left_s`` returns more than 0 seconds."""
    token = _LEFT.set(left_s)
    try:
        yield
    finally:
        _LEFT.reset(token)


def seconds_left() -> float:
    """For how long what is read here is waited for; infinity where nobody has said so."""
    left_s = _LEFT.get()
    return math.inf if left_s is None else left_s()


def check_waited_for() -> None:
    """Raise ``DeadlineExceeded`` once nobody waits any more."""
    if seconds_left() <= 0:
        raise DeadlineExceeded("The deadline passed, or the caller hung up, while the file was read.")


class WaitedFor(io.BytesIO):
    """A file in memory that stops giving bytes once nobody waits: decoders read in pieces."""

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes. Raises ``DeadlineExceeded``."""
        check_waited_for()
        return super().read(size)
