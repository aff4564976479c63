"""How the C library keeps the memory that arrays come from and go back to."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

# mallopt(3): a free end of the heap above the first is handed back to the system, a block from the second on comes
# straight from it. Images of 512 pixels a side hold some 5 MB at once, in blocks of 1 MB.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 16 * 2**20
_LARGE_BYTES: Final = 8 * 2**20


def keep_freed_memory() -> bool:
    """Let each thread keep up to 16 MiB that it has freed, for what it allocates next; False where that is not to be
    had (musl, macOS, Windows).

    glibc hands the memory of an image's arrays back after each request and faults it in again page by page for the
    next, which takes a fourth of the CPU time that preparing one takes. What is larger goes back as before.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
