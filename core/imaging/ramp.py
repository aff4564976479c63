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
    low, high = extremes(values, counted)
    if high <= low:
        return np.zeros_like(values, dtype=np.float32)
    return ramp(values, low, high - low)


def extremes(values: FloatArray, counted: npt.NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """The smallest and the largest of the values that are ``counted``; of all where there are none such."""
    # A copy of the counted ones would be one more image in memory.
    where = True if counted is None or not counted.any() else counted
    return float(values.min(where=where, initial=np.inf)), float(values.max(where=where, initial=-np.inf))
