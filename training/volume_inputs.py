"""Scans prepared for a graph exactly as a job is, and a network's answer for a whole one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.contracts.manifest import VolumePreprocessing
from core.imaging.geometry import WorkingSpace
from core.imaging.volume import Grid
from core.imaging.volume_transforms import PreparedVolume, VolumeSpec, prepare_volume
from core.imaging.windows import Forward, WindowPlan, slide
from training.data.archives import FloatArray
from training.data.multisequence import SEQUENCES
from training.data.scans import LabelledScan

BoolArray = npt.NDArray[np.bool_]
# Share of a window's side by which neighbours overlap at least.
OVERLAP = 0.5


def preprocessing_of(side: int, spacing_mm: float, overlap: float = OVERLAP) -> VolumePreprocessing:
    """What a network trained on patches of ``side`` voxels of ``spacing_mm`` needs of its inputs."""
    return VolumePreprocessing(sequences=SEQUENCES, spacing_mm=spacing_mm, window=(side, side, side), overlap=overlap)


def predict_volume(
    forward: Forward, tensor: FloatArray, window: tuple[int, ...], overlap: float, regions: int
) -> FloatArray:
    """Probabilities (regions, i, j, k) of a tensor (channels, i, j, k) by sliding windows, as in serving."""
    i, j, k = window
    return slide(forward, tensor, WindowPlan.over(tensor.shape[1:], (i, j, k), overlap), regions)


@dataclass(frozen=True, eq=False)
class ScanInput:
    """A scan with some of its sequences: the network's input, and the truth (r, i, j, k) on the scan's own grid."""

    volume: PreparedVolume
    regions: BoolArray

    @property
    def space(self) -> WorkingSpace:
        """The working voxels and the way back."""
        return self.volume.space

    @property
    def grid(self) -> Grid:
        """The scan's own."""
        return self.space.source


def scan_input(labelled: LabelledScan, names: tuple[str, ...], preprocessing: VolumePreprocessing) -> ScanInput:
    """A scan of which ``names`` alone are shown."""
    shown = {name: labelled.sequences[name] for name in names}
    return ScanInput(prepare_volume(shown, VolumeSpec.of(preprocessing)), labelled.regions)
