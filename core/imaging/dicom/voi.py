"""Stored values to what a viewer shows: the linear and sigmoid window functions of DICOM PS3.3 C.11.2.1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.imaging.ramp import ramp
from core.imaging.slices import FloatArray

LINEAR: Final = "LINEAR"
LINEAR_EXACT: Final = "LINEAR_EXACT"
SIGMOID: Final = "SIGMOID"
FUNCTIONS: Final = (LINEAR, LINEAR_EXACT, SIGMOID)
# So many widths from the centre a sigmoid is within one grey level of 255 of black or white: exp(-6) < 1 / 255.
_SIGMOID_REACH: Final = 1.5
# Below this a window is a threshold, and float32 arithmetic would overflow.
_SMALLEST_WIDTH: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window in units of rescaled values."""

    centre: float
    width: float
    function: str = LINEAR

    @property
    def valid(self) -> bool:
        """Whether the standard allows it: LINEAR needs a width of at least 1, the others one above 0 (here: 1e-6)."""
        if self.function not in FUNCTIONS or not (math.isfinite(self.centre) and math.isfinite(self.width)):
            return False
        return self.width >= (1 if self.function == LINEAR else _SMALLEST_WIDTH)

    @property
    def bounds(self) -> tuple[float, float]:
        """The rescaled values at and below which all is black, and at and above which all is white."""
        if self.function == SIGMOID:
            return self.centre - _SIGMOID_REACH * self.width, self.centre + _SIGMOID_REACH * self.width
        if self.function == LINEAR_EXACT:
            return self.centre - self.width / 2, self.centre + self.width / 2
        # LINEAR counts whole grey levels: width w shows w levels, hence the w - 1 and the half.
        low = self.centre - 0.5 - (self.width - 1) / 2
        return low, low + self.width - 1

    def apply(self, values: FloatArray) -> FloatArray:
        """Rescaled values (h, w) as display values in [0, 1]."""
        if self.function == SIGMOID:
            # The exponent is bounded so that float32 neither overflows nor warns; exp(80) already shows as 0.
            exponent = np.clip(-4.0 * (values - self.centre) / self.width, -80.0, 80.0)
            return np.asarray(1.0 / (1.0 + np.exp(exponent)), np.float32)
        if self.function == LINEAR_EXACT:
            return ramp(values, self.bounds[0], self.width)
        return ramp(values, self.bounds[0], self.width - 1)
