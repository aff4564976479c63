"""Memory for one batch, used again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class RowBuffer:
    """One runner's memory for a batch, kept as long as rows keep their shape."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._array: Array = np.empty(0)

    def fill(self, requests: Sequence[Array], size: int) -> Array:
        """All requests' rows one after another, padded with zeros to ``size`` rows."""
        row = requests[0][0]
        if self._array.shape[1:] != row.shape or self._array.dtype != row.dtype or len(self._array) < size:
            self._array = np.empty((max(self._capacity, size), *row.shape), row.dtype)
        end = 0
        for request in requests:
            self._array[end : end + len(request)] = request
            end += len(request)
        self._array[end:size] = 0
        return self._array[:size]
