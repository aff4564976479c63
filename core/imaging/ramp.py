"""Values stretched linearly to grey in [0, 1]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from core.imaging.slices import FloatArray


def ramp(values: FloatArray, low: float, span: float) -> FloatArray:
    """``values`` (h, w) as float32: 0 up to ``low``, 1 above ``low + span``, linear between."""
    if span == 0:
        return (values > low).astype(np.float32)
    raised: FloatArray = np.subtract(values, np.float32(low), dtype=np.float32)
    raised /= np.float32(span)
    np.clip(raised, 0.0, 1.0, out=raised)
    return raised


def full_range(values: FloatArray, counted: npt.NDArray[np.bool_] | None = None) -> FloatArray:
    """Values (h, w) stretched from the smallest to the largest counted one to [0, 1]; all zeros for a flat slice."""
    among = values if counted is None or not counted.any() else values[counted]
    low, high = float(among.min()), float(among.max())
    if high <= low:
        return np.zeros_like(values, dtype=np.float32)
    return ramp(values, low, high - low)
