"""What decoding yields: one slice, whatever the file was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One grey slice as a viewer shows it: upright, rescaled, windowed, white on black.

    ``pixels`` is float32 (h, w) in [0, 1], C-contiguous. ``spacing_mm`` is the distance of pixel centres in mm as
    (between rows, between columns), None when the file does not say. ``sequence`` is ``t1``, ``t1ce``, ``t2`` or
    ``flair`` when a DICOM header leaves no doubt, ``modality`` the DICOM modality. ``colourfulness`` is the mean
    over pixels of (largest - smallest of R, G, B) in [0, 1]: 0 for a grey image. ``computed`` names what a DICOM file
    says that it holds in place of a plain image, such as ADC. ``notes`` say what was left out.
    """

    pixels: FloatArray
    media_type: str
    spacing_mm: tuple[float, float] | None = None
    sequence: str | None = None
    modality: str | None = None
    colourfulness: float = 0.0
    computed: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]
