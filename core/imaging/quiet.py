"""Keeps what decoders remark about a file out of logs: such remarks quote it, and it may name a patient."""

from __future__ import annotations

import re
import warnings
from typing import Final

_DECODERS: Final = r"(PIL|pydicom|gdcm)(\.|$)"
_FILTER: Final = ("ignore", None, Warning, re.compile(_DECODERS), 0)


def hush_decoders() -> None:
    """Make sure that warnings raised inside Pillow and pydicom are ignored in this process.

    Called before each decode, since others may have put filters in front. A context manager would do per call what
    this does once, but ``warnings.catch_warnings`` is not safe among threads, and decoding is threaded.
    """
    if not warnings.filters or warnings.filters[0] != _FILTER:
        warnings.filterwarnings("ignore", module=_DECODERS)
